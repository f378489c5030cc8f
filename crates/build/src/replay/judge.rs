//! Whether a replay is allowed, and what it has to compile: the rule at the head of [`super`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use devhost_sys::content::Identity;

use super::context::Context;
use super::inputs::Inputs;
use super::recording::{Recording, listing};
use super::unit::Unit;
use super::weakness::is_left_out;
use crate::refusal::Refusal;

impl Recording {
    /// Checks that everything cargo decides by is unchanged.
    pub(super) fn check(&mut self, context: &Context, changed: &[PathBuf]) -> Result<(), Refusal> {
        if !is_left_out!(context, Guards) {
            self.check_guards(context)?;
        }
        if !is_left_out!(context, UnknownFiles) {
            self.check_unknown(context, changed)?;
        }
        Ok(())
    }

    /// The units to compile for a change, including those `due` for another reason. Refuses if cargo has to
    /// do it.
    pub(super) fn judge(
        &self,
        context: &Context,
        changed: &[PathBuf],
        due: &BTreeSet<usize>,
    ) -> Result<Vec<usize>, Refusal> {
        let has_script_made = |path: &Path| self.scripts.iter().any(|script| script.has_made(path));
        let mut wanted = BTreeSet::new();
        for index in 0..self.units.len() {
            let by_watcher = is_left_out!(context, Content);
            let dependents = !is_left_out!(context, Dependents);
            let unit = &self.units[index];
            let uses_another =
                |needed: &usize| wanted.contains(needed) || !unit.uses_latest_of(&self.units[*needed]);
            let used = dependents && unit.needs.iter().any(uses_another);
            let is_due = unit.made().due || due.contains(&index);
            if used || is_due || unit.is_changed(context, &has_script_made, by_watcher.then_some(changed))? {
                wanted.insert(index);
            }
        }
        let elsewhere = |index: &usize| self.units[*index].is_made_elsewhere();
        for index in (0..self.units.len()).filter(|index| wanted.contains(index) || elsewhere(index)) {
            let unit = &self.units[index];
            if unit.is_macro {
                return Err(Refusal::Macro(unit.package.name.clone()));
            }
            if let Some(reason) = &unit.only_cargo {
                return Err(reason.clone());
            }
        }
        for made in self.units.iter().map(Unit::made).filter(|made| !made.due) {
            if let Some((path, _)) = made.outputs.iter().find(|(path, made)| Identity::of(path) != **made) {
                return Err(Refusal::ChangedByOthers(context.shown(path)));
            }
        }
        Ok(wanted.into_iter().collect())
    }

    fn check_guards(&mut self, context: &Context) -> Result<(), Refusal> {
        for (path, known) in &mut self.guards {
            let Some((identity, content)) = known else {
                return Err(Refusal::MayHaveChanged(context.shown(path)));
            };
            let mut now = *content;
            if now.refresh(path) || Identity::of(path) != *identity {
                return Err(Refusal::Changed(context.shown(path)));
            }
            *content = now;
        }
        for (path, identity) in &self.fixed {
            if Identity::of(path) != *identity {
                return Err(Refusal::Changed(context.shown(path)));
            }
        }
        for (path, stamps) in &self.trees {
            if stamps.is_none() || Inputs::Named(vec![path.clone()]).stamps() != *stamps {
                return Err(Refusal::ReadByScript(context.shown(path)));
            }
        }
        Ok(())
    }

    fn check_unknown(&self, context: &Context, changed: &[PathBuf]) -> Result<(), Refusal> {
        for path in changed {
            // It may have changed while cargo ran, which nothing here would show.
            if self.guards.contains_key(path) {
                return Err(Refusal::Changed(context.shown(path)));
            }
            let is_known = self.units.iter().any(|unit| unit.made().sources.contains_key(path))
                || self.scripts.iter().any(|script| script.reads(path));
            if !is_known {
                let refusal = if path.exists() { Refusal::NewToBuild } else { Refusal::Gone };
                return Err(refusal(context.shown(path)));
            }
        }
        for made in self.units.iter().map(Unit::made) {
            for (directory, names) in &made.listings {
                let now = listing(directory);
                if let Some(name) = now.symmetric_difference(names).next() {
                    let refusal = if names.contains(name) { Refusal::Gone } else { Refusal::New };
                    return Err(refusal(context.shown(&directory.join(name))));
                }
            }
        }
        Ok(())
    }
}
