//! The directives a build script prints for cargo
//! (<https://doc.rust-lang.org/cargo/reference/build-scripts.html#outputs-of-the-build-script>), as far as
//! devhost needs them: the inputs, and whether two runs differ. Pure.

use std::collections::BTreeMap;

use crate::refusal::Difference;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Directives {
    /// `rustc-env`: variables for the rustc calls of the script's own package. The last one of a name wins.
    pub variables: BTreeMap<String, String>,
    pub inputs: Vec<String>,
    /// There is any `rerun-if-…`; otherwise every file of the package is an input.
    pub names_inputs: bool,
    pub warnings: Vec<String>,
    /// `error`, which makes cargo fail.
    pub has_errors: bool,
    pub others: Vec<String>,
}

impl Directives {
    /// Parses the output as cargo does.
    pub(crate) fn read(output: &[u8]) -> Self {
        let mut read = Self::default();
        for line in output.split(|byte| *byte == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            let line = line.trim();
            let Some(directive) = line.strip_prefix("cargo::").or_else(|| line.strip_prefix("cargo:")) else {
                continue;
            };
            match directive.split_once('=') {
                Some(("rerun-if-changed", path)) => {
                    read.names_inputs = true;
                    read.inputs.push(path.into());
                }
                Some(("rerun-if-env-changed", _)) => read.names_inputs = true,
                Some(("warning", text)) => read.warnings.push(text.into()),
                Some(("error", _)) => read.has_errors = true,
                Some(("rustc-env", variable)) => match variable.split_once('=') {
                    Some((name, value)) => drop(read.variables.insert(name.into(), value.into())),
                    None => read.others.push(line.into()),
                },
                _ => read.others.push(line.into()),
            }
        }
        read
    }

    /// Variables whose value changed, each with the old and the new one. Fails if anything else differs that
    /// rustc or another package may see.
    pub(crate) fn changed_variables<'a>(
        &'a self,
        before: &'a Self,
    ) -> Result<Vec<(&'a str, &'a str, &'a str)>, Difference> {
        if self.has_errors {
            return Err(Difference::Error);
        }
        if self.others != before.others {
            return Err(Difference::Directives);
        }
        if !self.variables.keys().eq(before.variables.keys()) {
            return Err(Difference::Variables);
        }
        let pairs = before.variables.iter().zip(&self.variables);
        let changed = pairs.filter(|((_, old), (_, new))| old != new);
        Ok(changed.map(|((name, old), (_, new))| (name.as_str(), old.as_str(), new.as_str())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_directive_are_read() {
        let output =
            b"a line\ncargo::rerun-if-changed=a\r\n cargo:rerun-if-changed=b c\ncargo:rustc-env=A=1=2\n\
                       \xff\ncargo::warning=look\ncargo:root=/x\ncargo::metadata=k=v\ncargo:rustc-env=A=3\n";
        let read = Directives::read(output);
        assert_eq!(read.inputs, ["a", "b c"]);
        assert_eq!(read.variables, BTreeMap::from([("A".into(), "3".into())]));
        assert_eq!(read.warnings, ["look"]);
        assert_eq!(read.others, ["cargo:root=/x", "cargo::metadata=k=v"]);
        assert!(read.names_inputs && !read.has_errors);
        assert!(Directives::read(b"cargo:rerun-if-env-changed=A").names_inputs);
        assert!(!Directives::read(b"cargo:rustc-cfg=x").names_inputs);
    }

    #[test]
    fn only_values_of_variables_may_differ() {
        let read = |text: &str| Directives::read(text.as_bytes());
        let before =
            read("cargo:rustc-env=A=1\ncargo:rustc-env=B=1\ncargo:rustc-cfg=x\ncargo:rerun-if-changed=a");
        let after = read(
            "cargo:rerun-if-changed=b\ncargo:warning=w\ncargo:rustc-cfg=x\ncargo:rustc-env=B=1\ncargo:rustc-env=A=2",
        );
        assert_eq!(after.changed_variables(&before), Ok(vec![("A", "1", "2")]));
        for other in [
            "cargo:rustc-env=A=1\ncargo:rustc-cfg=x",
            "cargo:rustc-env=A=1\ncargo:rustc-env=B=1\ncargo:rustc-env=C=1\ncargo:rustc-cfg=x",
            "cargo:rustc-env=A=1\ncargo:rustc-env=B=1\ncargo:rustc-cfg=y",
            "cargo:rustc-env=A=1\ncargo:rustc-env=B=1\ncargo:rustc-cfg=x\ncargo::error=no",
            "cargo:rustc-env=A=1\ncargo:rustc-env=B=1\ncargo:rustc-cfg=x\ncargo:include=/x",
        ] {
            assert!(read(other).changed_variables(&before).is_err(), "{other}");
        }
    }
}
