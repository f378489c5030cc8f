//! The last output of workers, which explains how they ended.

use std::collections::BTreeMap;

use devhost_sys::output::Position;

use super::table::Workers;
use crate::runner::ids::WorkerId;

impl Workers {
    /// Returns the last output of a generation's worker, preferring the failed one; empty if that was long
    /// ago.
    pub(in crate::runner) fn last_output(&self, generation: u64) -> String {
        let output = self.outputs.iter().rev().find(|(id, _)| id.generation == generation);
        output.map(|(_, output)| output.last()).unwrap_or_default()
    }

    /// Returns what workers have printed since the positions noted in `seen`, and notes the present ones. `None` if that is nothing.
    pub(in crate::runner) fn printed_since(&self, seen: &mut BTreeMap<WorkerId, Position>) -> Option<String> {
        let mut printed = String::new();
        let mut any = false;
        for (id, output) in &self.outputs {
            let (before, now) = (seen.get(id).copied().unwrap_or_default(), output.position());
            if before != now {
                printed.push_str(&output.last_since(before));
                any = true;
            }
            seen.insert(*id, now);
        }
        seen.retain(|id, _| self.outputs.iter().any(|(known, _)| known == id));
        any.then_some(printed)
    }

    /// Makes a worker's output the one that explains its generation's failure.
    pub(super) fn put_output_last(&mut self, id: WorkerId) {
        if let Some(index) = self.outputs.iter().position(|(of, _)| *of == id)
            && let Some(output) = self.outputs.remove(index)
        {
            self.outputs.push_back(output);
        }
    }
}
