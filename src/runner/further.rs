//! The listeners of plain apps beside the main one. They stay where the app wants them, so overlapping
//! generations both have them. This file decides which one gets a connection: the current generation's.
//!
//! The front holds a copy of each such listener and never accepts on it. So their order, by which the kernel
//! knows them, changes only here.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use super::ids::WorkerId;
use devhost_sys::steering;

/// How many listeners at one address are tracked.
const SAME_ADDRESS_COUNT_MAX: usize = 256;

#[derive(Debug)]
struct Member<S> {
    worker: WorkerId,
    socket: S,
}

#[derive(Debug)]
pub(super) struct Further<S = OwnedFd> {
    groups: BTreeMap<String, Vec<Member<S>>>,
    current: u64,
}

impl<S> Default for Further<S> {
    fn default() -> Self {
        Self { groups: BTreeMap::new(), current: 0 }
    }
}

impl Further {
    /// Adds a worker's listener at an address that others may share.
    pub(super) fn add(&mut self, worker: WorkerId, address: &str, socket: OwnedFd) {
        if self.insert(worker, address.to_owned(), socket) {
            self.steer(address);
        }
    }

    /// Directs new connections to this generation.
    pub(super) fn set_current(&mut self, generation: u64) {
        self.current = generation;
        let addresses: Vec<String> = self.groups.keys().cloned().collect();
        addresses.iter().for_each(|address| self.steer(address));
    }

    /// Forgets the listeners of dead workers.
    pub(super) fn retain(&mut self, lives: impl Fn(WorkerId) -> bool) {
        self.remove(lives).iter().for_each(|address| self.steer(address));
    }

    fn steer(&self, address: &str) {
        let Some(group) = self.groups.get(address) else { return };
        let Some(member) = group.first() else { return };
        if let Err(error) = steering::choose(&member.socket, &self.places(group)) {
            tracing::warn!("connections to {address} cannot be led to the newest code: {error}");
        }
    }
}

impl<S> Further<S> {
    fn insert(&mut self, worker: WorkerId, address: String, socket: S) -> bool {
        let group = self.groups.entry(address).or_default();
        let has_room = group.len() < SAME_ADDRESS_COUNT_MAX;
        if has_room {
            group.push(Member { worker, socket });
        }
        has_room
    }

    /// Removes the listeners of dead workers. Returns the addresses that still have others.
    fn remove(&mut self, lives: impl Fn(WorkerId) -> bool) -> Vec<String> {
        let mut changed = Vec::new();
        self.groups.retain(|address, group| {
            let before = group.len();
            // As the kernel does: the last one fills the gap.
            while let Some(gone) = group.iter().position(|member| !lives(member.worker)) {
                group.swap_remove(gone);
            }
            if group.len() < before && !group.is_empty() {
                changed.push(address.clone());
            }
            !group.is_empty()
        });
        changed
    }

    /// Returns the indices of the listeners that get new connections: the current generation's, or the
    /// newest's if it has none there.
    fn places(&self, group: &[Member<S>]) -> Vec<u32> {
        let newest = group.iter().map(|member| member.worker.generation).max();
        let has_current = group.iter().any(|member| member.worker.generation == self.current);
        let wanted = if has_current { Some(self.current) } else { newest };
        let places = (0..).zip(group).filter(|(_, member)| Some(member.worker.generation) == wanted);
        places.map(|(place, _)| place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(generation: u64, number: u64) -> WorkerId {
        WorkerId { generation, number }
    }

    fn places(further: &Further<()>) -> Vec<u32> {
        further.places(&further.groups["a"])
    }

    #[test]
    fn the_current_generation_gets_what_comes() {
        let mut further = Further::default();
        further.insert(worker(1, 1), "a".into(), ());
        assert_eq!(places(&further), [0], "nobody else is there");
        further.current = 1;
        further.insert(worker(2, 2), "a".into(), ());
        assert_eq!(places(&further), [0], "the new code has to be ready first");
        further.current = 2;
        assert_eq!(places(&further), [1]);
        further.insert(worker(3, 3), "a".into(), ());
        further.insert(worker(3, 4), "a".into(), ());
        further.current = 3;
        assert_eq!(places(&further), [2, 3]);
        assert_eq!(further.remove(|worker| worker.generation != 1), ["a"]);
        assert_eq!(places(&further), [0, 2], "the last has taken the place of the first");
        assert!(further.remove(|_| false).is_empty());
        assert!(further.groups.is_empty());
    }

    #[test]
    fn code_that_listens_where_the_current_does_not_gets_what_comes() {
        let mut further = Further { current: 2, ..Further::default() };
        further.insert(worker(1, 1), "a".into(), ());
        further.insert(worker(3, 3), "a".into(), ());
        assert_eq!(places(&further), [1]);
    }
}
