//! The user's environment files (`--env-file`) and variables (`env` in devhost.toml), read for each fork, so that a change needs a fork but no
//! build.
//!
//! The syntax is that of the `dotenvy` crate. Later files override earlier ones, single variables
//! override files, and devhost's own environment overrides all, as in an app that reads `.env` by itself.

use std::path::PathBuf;

use devhost_model::Error;

/// Reads environment files, and adds single variables.
///
/// # Errors
/// A mistake that names the file, and the line if there is one.
pub(crate) fn read(files: &[PathBuf], single: &[(String, String)]) -> Result<Vec<(String, String)>, Error> {
    let mut variables: Vec<(String, String)> = Vec::new();
    for file in files {
        let mistake = |error: dotenvy::Error| {
            let error = match error {
                dotenvy::Error::LineParse(line, at) => {
                    format!("a line is not NAME=VALUE, at {at}: {line}")
                }
                dotenvy::Error::Io(error) => error.to_string(),
                other => other.to_string(),
            };
            Error::mistake(
                format!("cannot read the environment file {}: {error}", file.display()),
                "name a file (--env-file, or `env-file` in devhost.toml) with lines such as NAME=VALUE or NAME=\"a value\"",
            )
        };
        for variable in dotenvy::from_path_iter(file).map_err(mistake)? {
            set(&mut variables, variable.map_err(mistake)?);
        }
    }
    single.iter().for_each(|variable| set(&mut variables, variable.clone()));
    Ok(variables)
}

fn set(variables: &mut Vec<(String, String)>, (name, value): (String, String)) {
    variables.retain(|(known, _)| *known != name);
    variables.push((name, value));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn later_files_win_and_single_variables_over_files() {
        let (first, second) = (file("A=1\n# note\nexport B=\"two words\"\n"), file("A=3\n"));
        let files = [first.path().into(), second.path().into()];
        let variables = read(&files, &[]).unwrap();
        assert_eq!(variables, [("B".into(), "two words".into()), ("A".into(), "3".into())]);
        let variables = read(&files, &[("B".into(), "4".into())]).unwrap();
        assert_eq!(variables, [("A".into(), "3".into()), ("B".into(), "4".into())]);
    }

    #[test]
    fn a_missing_or_broken_file_is_a_mistake_that_names_it() {
        let missing = read(&["/nowhere/.env".into()], &[]).unwrap_err();
        assert!(missing.mistake && missing.message.contains("/nowhere/.env"), "{missing}");
        let broken = file("A=1\nwhat is this\n");
        let error = read(&[broken.path().into()], &[]).unwrap_err();
        assert!(error.message.contains(&broken.path().display().to_string()), "{error}");
        assert!(error.message.contains("what is this"), "{error}");
    }
}
