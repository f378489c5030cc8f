//! The last output of workers, which explains how they ended.

use super::table::Workers;
use crate::runner::ids::WorkerId;

impl Workers {
    /// Returns the last output of a generation's worker, preferring the failed one; empty if that was long
    /// ago.
    pub(in crate::runner) fn last_output(&self, generation: u64) -> String {
        let output = self.outputs.iter().rev().find(|(id, _)| id.generation == generation);
        output.map(|(_, output)| output.last()).unwrap_or_default()
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
