//! The shadow of a plain app's root file: a directory in devhost's target directory that mirrors, by symbolic
//! links, everything around the root file, so that `mod`, `#[path]` and `include_str!("../…")` find what they
//! find in the user's own tree. Only the root file itself is generated (see [`crate::root`]). Paths into the
//! mirror are translated back in rustc's output. The user's tree is only read.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::dep_info;
use crate::root::Root;

/// Limit on mirrored entries per directory outside of the workspace: a `/tmp` may have a hundred thousand,
/// none of which an app includes.
const OUTSIDE_ENTRIES_COUNT_MAX: usize = 2_000;

/// A mirror of the file system around one root file.
#[derive(Debug)]
pub(crate) struct Shadow {
    /// What stands for `/`.
    mirror: PathBuf,
    /// The root file's directory, with links resolved.
    source_dir: PathBuf,
    file_name: PathBuf,
    cwd: PathBuf,
    /// The root file's directory as given by cargo, usually relative to `cwd`.
    given_dir: PathBuf,
}

impl Shadow {
    /// The shadow, in the directory `mirror`, of `input` as cargo passes it to a rustc in `cwd`.
    pub(crate) fn new(mirror: &Path, cwd: &Path, input: &Path) -> io::Result<Self> {
        let cwd = cwd.canonicalize()?;
        let given_dir = input.parent().unwrap_or(Path::new("")).to_owned();
        std::fs::create_dir_all(mirror)?;
        Ok(Self {
            mirror: mirror.canonicalize()?,
            source_dir: cwd.join(&given_dir).canonicalize()?,
            file_name: input.file_name().unwrap_or_default().into(),
            cwd,
            given_dir,
        })
    }

    pub(crate) fn input(&self) -> PathBuf {
        self.within(&self.source_dir).join(&self.file_name)
    }

    /// Updates the links and writes the root file. Large directories outside of `workspace` are not mirrored,
    /// nor is `excluded`, devhost's own directory.
    pub(crate) fn write(&self, root: &Root, workspace: &Path, excluded: &Path) -> io::Result<()> {
        let excluded = excluded.canonicalize()?;
        self.mirror_directory(Path::new("/"), workspace, &excluded)?;
        let input = self.input();
        let unchanged = std::fs::read(&input).is_ok_and(|text| text == root.text.as_bytes());
        if unchanged {
            return Ok(());
        }
        // Never through a link left by an earlier layout of the app.
        let _ = std::fs::remove_file(&input);
        std::fs::write(&input, &root.text)
    }

    fn within(&self, path: &Path) -> PathBuf {
        self.mirror.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn mirror_directory(&self, directory: &Path, workspace: &Path, excluded: &Path) -> io::Result<()> {
        let shadow = self.within(directory);
        if shadow.is_symlink() {
            std::fs::remove_file(&shadow)?;
        }
        std::fs::create_dir_all(&shadow)?;
        // An unreadable directory that can be traversed has only the next one on the way.
        let mut names: Vec<PathBuf> = std::fs::read_dir(directory)
            .map(|entries| entries.flatten().map(|entry| entry.file_name().into()).collect())
            .unwrap_or_default();
        if names.len() > OUTSIDE_ENTRIES_COUNT_MAX && !directory.starts_with(workspace) {
            names.clear();
        }
        if let Ok(rest) = self.source_dir.strip_prefix(directory)
            && let Some(Component::Normal(next)) = rest.components().next()
            && !names.iter().any(|name| name.as_os_str() == next)
        {
            names.push(next.into());
        }
        for name in &names {
            let path = directory.join(name);
            let is_root = directory == self.source_dir && *name == self.file_name;
            if path == *excluded || is_root {
                continue;
            }
            // The way to `excluded` is mirrored so that nothing leads back into the mirror.
            if self.source_dir.starts_with(&path)
                || (excluded.starts_with(&path) && path.starts_with(workspace))
            {
                self.mirror_directory(&path, workspace, excluded)?;
            } else {
                link(&path, &shadow.join(name))?;
            }
        }
        for entry in std::fs::read_dir(&shadow)?.flatten() {
            let path = entry.path();
            if path.is_symlink() && !names.contains(&entry.file_name().into()) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// The mirror's prefixes and what they stand for, most specific first.
    fn prefixes(&self) -> Vec<(PathBuf, PathBuf)> {
        let mut prefixes = Vec::new();
        if self.given_dir.is_absolute() {
            prefixes.push((self.within(&self.source_dir), self.given_dir.clone()));
        } else {
            if self.cwd.join(&self.given_dir) != self.source_dir {
                prefixes.push((self.within(&self.source_dir), self.given_dir.clone()));
            }
            prefixes.push((self.within(&self.cwd), PathBuf::new()));
        }
        prefixes.push((self.mirror.clone(), "/".into()));
        prefixes
    }

    /// The arguments that make rustc name the real files.
    pub(crate) fn remap_arguments(&self) -> Vec<std::ffi::OsString> {
        // The last match wins.
        let prefixes = self.prefixes().into_iter().rev();
        prefixes
            .map(|(shadow, real)| {
                let mut argument = std::ffi::OsString::from("--remap-path-prefix=");
                argument.push(shadow);
                argument.push("=");
                argument.push(real);
                argument
            })
            .collect()
    }

    /// Replaces paths into the mirror by the real ones in the text of a `.d` file. A path may climb out of the mirror: macros
    /// that know where the root file is name other files relative to it.
    pub(crate) fn translate_dep_info(&self, text: &[u8]) -> Vec<u8> {
        let inside = dep_info::escape(&self.mirror.to_string_lossy()).into_bytes();
        let mut translated = Vec::with_capacity(text.len());
        for word in dep_info::words(text) {
            let climbs = word.starts_with(&inside) && word.windows(4).any(|part| part == b"/../");
            if !climbs {
                translated.extend_from_slice(word);
                continue;
            }
            let (word, end) = match word {
                [path @ .., b':'] => (path, &b":"[..]),
                path => (path, &b""[..]),
            };
            let path = dep_info::unescape(&String::from_utf8_lossy(word));
            let resolved = self.resolve(Path::new(&path));
            translated.extend(dep_info::escape(&resolved.to_string_lossy()).into_bytes());
            translated.extend_from_slice(end);
        }
        self.translate(&translated, dep_info::escape)
    }

    /// Follows the `..` of a path into the mirror, as the system does. What is left of the mirror at its start is left there.
    fn resolve(&self, path: &Path) -> PathBuf {
        let mut resolved = PathBuf::new();
        for component in path.components() {
            if component != Component::ParentDir {
                resolved.push(component);
                continue;
            }
            if resolved.is_symlink()
                && let Ok(target) = resolved.canonicalize()
            {
                resolved = target;
            }
            resolved.pop();
        }
        if self.given_dir.is_absolute() || resolved.starts_with(&self.mirror) {
            return resolved;
        }
        // Named relative to the working directory, as rustc would have named it.
        resolved.strip_prefix(&self.cwd).map(Path::to_owned).unwrap_or(resolved)
    }

    /// Replaces paths into the mirror by the real ones; `escape` writes a path as the text does.
    pub(crate) fn translate(&self, text: &[u8], escape: fn(&str) -> String) -> Vec<u8> {
        let mut text = text.to_vec();
        for (shadow, real) in self.prefixes() {
            let bytes = |path: &Path| escape(&path.to_string_lossy()).into_bytes();
            let mut from = bytes(&shadow);
            let mut to = bytes(&real);
            from.push(b'/');
            if !to.is_empty() && !to.ends_with(b"/") {
                to.push(b'/');
            }
            text = replace(&text, &from, &to);
        }
        text
    }
}

pub(crate) fn escape_json(path: &str) -> String {
    let quoted = serde_json::to_string(path).unwrap_or_default();
    quoted.trim_matches('"').to_owned()
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(&first) = rest.first() {
        if let Some(after) = rest.strip_prefix(from) {
            replaced.extend_from_slice(to);
            rest = after;
        } else {
            replaced.push(first);
            rest = &rest[1..];
        }
    }
    replaced
}

fn link(target: &Path, path: &Path) -> io::Result<()> {
    match std::fs::read_link(path) {
        Ok(current) if current == target => return Ok(()),
        Ok(_) => std::fs::remove_file(path)?,
        // What led to an older layout's root file, or that file itself.
        Err(_) if path.is_dir() => std::fs::remove_dir_all(path)?,
        Err(_) => {
            let _ = std::fs::remove_file(path);
        }
    }
    std::os::unix::fs::symlink(target, path)
}

/// What a message of rustc is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    App,
    /// A generated line, but no error.
    Generated,
    /// An error in a generated line.
    GeneratedError,
}

/// Classifies a line of rustc's JSON; `file` is the root file as rustc names it.
pub(crate) fn about(line: &[u8], file: &Path, own_lines: usize) -> About {
    let Ok(message) = serde_json::from_slice::<serde_json::Value>(line) else { return About::App };
    let spans = message["spans"].as_array().map(Vec::as_slice).unwrap_or_default();
    let generated = spans.iter().any(|span| {
        let line = span["line_end"].as_u64().and_then(|line| usize::try_from(line).ok()).unwrap_or(0);
        span["file_name"].as_str().is_some_and(|name| OsStr::from_bytes(name.as_bytes()) == file)
            && line > own_lines
    });
    match (generated, message["level"].as_str()) {
        (false, _) => About::App,
        (true, Some(level)) if level.starts_with("error") => About::GeneratedError,
        (true, _) => About::Generated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root;

    #[test]
    fn the_mirror_follows_the_tree_and_never_writes_into_it() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        let write = |path: &str, text: &str| {
            std::fs::create_dir_all(base.join(path).parent().unwrap()).unwrap();
            std::fs::write(base.join(path), text).unwrap();
        };
        write("w/src/main.rs", "mod a;\nfn main() {}");
        write("w/src/a.rs", "");
        write("w/text.txt", "w");
        write("text.txt", "outside");
        let target = base.join("w/target/devhost");
        let mirror = target.join("shadow/app-1");
        let shadow = Shadow::new(&mirror, &base.join("w"), Path::new("src/main.rs")).unwrap();
        let root = root::generate("mod a;\nfn main() {}", "2021", true);
        shadow.write(&root, &base.join("w"), &target).unwrap();
        let at = |path: &str| shadow.input().parent().unwrap().join(path);
        assert!(std::fs::read_to_string(shadow.input()).unwrap().contains(devhost_model::PLAIN_MAIN_SYMBOL));
        assert!(at("a.rs").is_symlink());
        assert_eq!(std::fs::read_to_string(at("../text.txt")).unwrap(), "w");
        assert_eq!(std::fs::read_to_string(at("../../text.txt")).unwrap(), "outside");
        assert!(!at("../target/devhost").exists(), "the mirror mirrors itself");

        std::fs::remove_file(base.join("w/src/a.rs")).unwrap();
        write("w/src/a/mod.rs", "");
        write("w/src/b.rs", "b");
        shadow.write(&root, &base.join("w"), &target).unwrap();
        assert!(!at("a.rs").is_symlink() && at("a/mod.rs").exists() && at("b.rs").exists());

        // Another root file: the old one's place becomes a link.
        write("w/src/main/mod.rs", "");
        let other = Shadow::new(&mirror, &base.join("w"), Path::new("src/b.rs")).unwrap();
        other.write(&root, &base.join("w"), &target).unwrap();
        assert!(at("main.rs").is_symlink());
        assert_eq!(std::fs::read_to_string(base.join("w/src/main.rs")).unwrap(), "mod a;\nfn main() {}");
        assert_eq!(std::fs::read_to_string(base.join("w/src/b.rs")).unwrap(), "b");

        let text = format!("{{\"file\":\"{}\"}}", shadow.input().display());
        assert_eq!(shadow.translate(text.as_bytes(), escape_json), b"{\"file\":\"src/main.rs\"}");
        let text = format!("{}/x", mirror.display());
        assert_eq!(shadow.translate(text.as_bytes(), dep_info::escape), b"/x");
    }

    #[test]
    fn a_path_that_climbs_out_of_the_mirror_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap().join("with space");
        let write = |path: &str| {
            std::fs::create_dir_all(base.join(path).parent().unwrap()).unwrap();
            std::fs::write(base.join(path), "").unwrap();
        };
        for path in ["w/src/main.rs", "w/templates/a.html", "elsewhere/b.html"] {
            write(path);
        }
        let target = base.join("w/target/devhost");
        let mirror = target.join("shadow/app-1");
        let shadow = Shadow::new(&mirror, &base.join("w"), Path::new("src/main.rs")).unwrap();
        shadow.write(&root::generate("fn main() {}", "2021", true), &base.join("w"), &target).unwrap();
        let from = shadow.input().parent().unwrap().to_owned();
        // Up to the root of the file system, and down again.
        let up = "../".repeat(from.components().count() - 1);
        let inside = |path: &str| format!("{}/{path}", from.display());
        let outside =
            |path: &str| inside(&format!("{up}{}", base.join(path).strip_prefix("/").unwrap().display()));
        let through_link = inside("../templates/../Cargo.toml");
        let paths = [
            shadow.input().display().to_string(),
            outside("w/templates/a.html"),
            outside("elsewhere/b.html"),
            inside("../templates/a.html"),
            through_link,
        ];
        let escaped = paths.map(|path| dep_info::escape(&path));
        let text = format!("out/app: {}\n\n{}:\n\n# env-dep:A=b\n", escaped.join(" "), escaped[1]);
        let elsewhere = dep_info::escape(&base.join("elsewhere/b.html").to_string_lossy());
        assert_eq!(
            String::from_utf8(shadow.translate_dep_info(text.as_bytes())).unwrap(),
            format!(
                "out/app: src/main.rs templates/a.html {elsewhere} templates/a.html Cargo.toml\n\n\
                 templates/a.html:\n\n# env-dep:A=b\n"
            )
        );
    }

    #[test]
    fn messages_about_generated_lines_are_known() {
        let line = |level: &str, file: &str, line: u32| {
            format!("{{\"level\":\"{level}\",\"spans\":[{{\"file_name\":\"{file}\",\"line_end\":{line}}}]}}")
        };
        let about = |text: String| about(text.as_bytes(), Path::new("src/main.rs"), 7);
        assert_eq!(about(line("error", "src/main.rs", 7)), About::App);
        assert_eq!(about(line("error", "src/main.rs", 8)), About::GeneratedError);
        assert_eq!(about(line("warning", "src/main.rs", 8)), About::Generated);
        assert_eq!(about(line("error", "src/a.rs", 8)), About::App);
        assert_eq!(about("no JSON".into()), About::App);
    }
}
