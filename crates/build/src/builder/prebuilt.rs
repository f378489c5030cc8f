//! Takes a library built by something else.

use devhost_model::{Diagnostics, Failure};

use super::base::Builder;
use crate::app::Prebuilt;
use crate::explain::{explain, start_failure};
use crate::inputs::ScriptInputs;
use crate::outcome::Artifact;
use crate::settings::Strategy;

impl Builder {
    pub(super) fn take_prebuilt(&mut self, prebuilt: &Prebuilt) -> Result<Artifact, Failure> {
        let path = self
            .next_path(&prebuilt.name)
            .map_err(|error| start_failure(format!("cannot make a directory for copies: {error}"), ""))?;
        // Never a link: whoever builds it may write to a file a worker has mapped.
        std::fs::copy(&prebuilt.path, &path).map_err(|error| {
            start_failure(format!("cannot copy {}: {error}", prebuilt.path.display()), "")
        })?;
        match self.inspector.check(None, &path, &[]) {
            Ok(checked) => Ok(Artifact {
                path,
                kind: checked.kind,
                strategy: Strategy::Fork,
                build_id: checked.build_id,
                preload: Vec::new(),
                sources: vec![prebuilt.path.clone()],
                scripts: ScriptInputs::default(),
                warnings: Diagnostics::default(),
                notes: Vec::new(),
            }),
            Err(problem) => {
                let _ = std::fs::remove_file(&path);
                // People know the file they built, not the copy.
                Err(explain(problem.said_of(&path, &prebuilt.path), &prebuilt.path))
            }
        }
    }
}
