//! What devhost.toml says about files: which changes count, and what they do. Matches paths only; never looks at the
//! file system.

use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// The characters that make a part of a pattern match more than itself.
const SPECIAL: [char; 6] = ['*', '?', '[', ']', '{', '}'];

/// What a change of a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nothing.
    Ignore,
    /// A build.
    Build,
    /// The app starts anew, without a build.
    Restart,
    /// Browsers reload; the app goes on.
    Reload,
}

/// A pattern for paths: a glob relative to a directory. `*` and `?` stay within one name, `**` crosses directories. A
/// directory that matches stands for all that is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    glob: String,
    root: PathBuf,
}

impl Pattern {
    /// Makes a pattern of a glob that is relative to an absolute directory. It may begin with `../`.
    ///
    /// # Errors
    /// What is wrong with the glob.
    pub fn new(directory: &Path, glob: &str) -> Result<Self, String> {
        if glob.is_empty() {
            return Err("the glob is empty".into());
        }
        let mut base = if glob.starts_with('/') { PathBuf::from("/") } else { directory.to_owned() };
        let mut names = Vec::new();
        // Without `Path`, which would take a brace with a slash for two names all the same.
        for name in glob.split('/') {
            match name {
                "" | "." => {}
                ".." if names.is_empty() => {
                    base.pop();
                }
                ".." => return Err("`..` can only stand at its beginning".into()),
                name => names.push(name),
            }
        }
        let literal = names.iter().take_while(|name| !name.contains(SPECIAL) && !name.contains('\\')).count();
        let mut root = base.clone();
        root.extend(&names[..literal]);
        let mut whole = String::new();
        for part in base.components() {
            if let Component::Normal(name) = part {
                let name = name.to_str().ok_or_else(|| format!("{} is not UTF-8", base.display()))?;
                whole.push('/');
                whole.push_str(&globset::escape(name));
            }
        }
        for name in names {
            whole.push('/');
            whole.push_str(name);
        }
        let pattern = Self { glob: if whole.is_empty() { "/".into() } else { whole }, root };
        for glob in pattern.globs() {
            build(&glob)?;
        }
        Ok(pattern)
    }

    /// The globs over absolute paths: what matches, and what is in it.
    fn globs(&self) -> [String; 2] {
        [self.glob.clone(), format!("{}/**", self.glob.trim_end_matches('/'))]
    }
}

fn build(glob: &str) -> Result<globset::Glob, String> {
    let built = GlobBuilder::new(glob).literal_separator(true).backslash_escape(true).build();
    built.map_err(|error| error.kind().to_string())
}

/// Patterns, put together: what a change of a path does.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    ignored: GlobSet,
    watched: GlobSet,
    /// Of each glob in `watched`.
    verdicts: Vec<Verdict>,
    roots: Vec<PathBuf>,
}

impl Rules {
    /// Puts patterns together.
    ///
    /// # Errors
    /// They are too large together.
    pub fn new(ignored: &[Pattern], watched: &[(Pattern, Verdict)]) -> Result<Self, String> {
        let mut rules = Self { ignored: set(ignored)?, ..Self::default() };
        for (pattern, verdict) in watched {
            rules.verdicts.extend([*verdict; 2]);
            if !rules.roots.contains(&pattern.root) {
                rules.roots.push(pattern.root.clone());
            }
        }
        rules.watched = set(watched.iter().map(|(pattern, _)| pattern))?;
        Ok(rules)
    }

    /// Returns what a change of an absolute path does, if a pattern says so. What is ignored and watched is ignored; of
    /// several patterns that watch it, the last counts.
    pub fn of(&self, path: &Path) -> Option<Verdict> {
        if self.ignored.is_match(path) {
            return Some(Verdict::Ignore);
        }
        let last = self.watched.matches(path).into_iter().max()?;
        self.verdicts.get(last).copied()
    }

    /// Returns what has to be watched for the patterns that watch: for each, the directory below which all that matches
    /// is; or, for one without wildcards, the file or directory itself. It need not exist.
    pub fn roots(&self) -> impl Iterator<Item = &Path> {
        self.roots.iter().map(PathBuf::as_path)
    }

    /// Returns true if there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.ignored.is_empty() && self.watched.is_empty()
    }
}

fn set<'a>(patterns: impl IntoIterator<Item = &'a Pattern>) -> Result<GlobSet, String> {
    let mut set = GlobSetBuilder::new();
    for glob in patterns.into_iter().flat_map(Pattern::globs) {
        set.add(build(&glob)?);
    }
    set.build().map_err(|error| error.kind().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(glob: &str) -> Pattern {
        Pattern::new(Path::new("/shop/my [app]"), glob).unwrap()
    }

    fn rules(ignored: &[&str], watched: &[(&str, Verdict)]) -> Rules {
        let ignored: Vec<Pattern> = ignored.iter().map(|glob| pattern(glob)).collect();
        let watched: Vec<_> = watched.iter().map(|(glob, verdict)| (pattern(glob), *verdict)).collect();
        Rules::new(&ignored, &watched).unwrap()
    }

    #[test]
    fn ignore_wins_and_then_the_last_that_watches() {
        let rules = rules(
            &["content/drafts/**"],
            &[
                ("content/**", Verdict::Restart),
                ("content/*.css", Verdict::Reload),
                ("proto/*.proto", Verdict::Build),
            ],
        );
        let of = |path: &str| rules.of(&Path::new("/shop/my [app]").join(path));
        assert_eq!(of("content/a/b.md"), Some(Verdict::Restart));
        assert_eq!(of("content/a.css"), Some(Verdict::Reload));
        assert_eq!(of("content/a/b.css"), Some(Verdict::Restart), "a star stays within one name");
        assert_eq!(of("content/drafts/a.css"), Some(Verdict::Ignore));
        assert_eq!(of("proto/a.proto"), Some(Verdict::Build));
        assert_eq!(of("src/main.rs"), None);
        assert_eq!(rules.of(Path::new("/shop/my a/content/a.css")), None, "the directory is no pattern");
    }

    #[test]
    fn a_directory_stands_for_what_is_in_it() {
        let rules = rules(&["cache"], &[("./locale/", Verdict::Reload), ("../shared", Verdict::Build)]);
        assert_eq!(rules.of(Path::new("/shop/my [app]/cache/a/b")), Some(Verdict::Ignore));
        assert_eq!(rules.of(Path::new("/shop/my [app]/cached")), None);
        assert_eq!(rules.of(Path::new("/shop/my [app]/locale/de/a.ftl")), Some(Verdict::Reload));
        assert_eq!(rules.of(Path::new("/shop/shared/a.rs")), Some(Verdict::Build));
    }

    #[test]
    fn roots_reach_down_to_the_first_wildcard() {
        let watched = ["content/**", "a/b.txt", "../shared/{x,y}/z", "/etc/app/*.toml", "a/b.txt"];
        let rules = rules(&["tmp/**"], &watched.map(|glob| (glob, Verdict::Restart)));
        let expected = ["/shop/my [app]/content", "/shop/my [app]/a/b.txt", "/shop/shared", "/etc/app"];
        assert!(rules.roots().eq(expected.map(Path::new)), "{:?}", rules.roots);
    }

    #[test]
    fn what_is_no_glob_is_refused() {
        for glob in ["", "a[", "{a", "a/../b"] {
            Pattern::new(Path::new("/shop"), glob).unwrap_err();
        }
        assert!(Rules::default().is_empty() && !rules(&["a"], &[]).is_empty());
    }
}
