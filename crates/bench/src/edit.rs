//! The edit: a new unique text, inserted after a text shown in the app's response. The user names that text,
//! or it is found: a string literal of the sources that occurs in the response.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

use devhost_model::Error;

pub(super) const CANDIDATES_COUNT_MAX: usize = 6;

/// Shorter texts are in every response by accident.
const TEXT_LEN_MIN_CHARS: usize = 3;

/// Larger source files are skipped.
const FILE_SIZE_MAX_BYTES: u64 = 4 << 20;

/// Punctuation with the same meaning in a literal, a format string and a page.
const PLAIN_PUNCTUATION: &str = " .,:;!?()-";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    /// Relative to the workspace.
    pub file: PathBuf,
    /// The text already shown.
    pub text: String,
    /// The file up to the end of the text.
    before: String,
    after: String,
}

impl Edit {
    fn new(file: &Path, source: &str, end: usize, text: &str) -> Self {
        let (before, after) = source.split_at(end);
        Self { file: file.to_owned(), text: text.to_owned(), before: before.into(), after: after.into() }
    }

    /// The place after the first occurrence of a text named by the user.
    ///
    /// # Errors
    /// A mistake if the file is not in the workspace or does not contain the text.
    pub(crate) fn named(root: &Path, file: &Path, text: &str) -> Result<Self, Error> {
        let hint = "name a file of the workspace and a text in it: --edit src/pages.rs:Welcome";
        let relative = file
            .strip_prefix(root)
            .map_err(|_| Error::mistake(format!("{} is not in the workspace", file.display()), hint))?;
        let source = fs::read_to_string(file)
            .map_err(|error| Error::mistake(format!("cannot read {}: {error}", file.display()), hint))?;
        let at = source
            .find(text)
            .ok_or_else(|| Error::mistake(format!("{} does not contain {text:?}", file.display()), hint))?;
        Ok(Self::new(relative, &source, at + text.len(), text))
    }

    /// Saves the file in a copy of the workspace by a rename, as most editors do. Returns the time of the
    /// save, where all measured times begin.
    pub(crate) fn save(&self, root: &Path, token: &str) -> Result<Instant> {
        self.write(root, &format!("{}{token}{}", self.before, self.after))
    }

    pub(crate) fn restore(&self, root: &Path) -> Result<Instant> {
        self.write(root, &format!("{}{}", self.before, self.after))
    }

    /// Replaces the token at this place in a text that contains the start of the file. Returns `None` if the
    /// text is not of that form.
    pub(crate) fn exchange(&self, text: &str, old_token: &str, new_token: &str) -> Option<String> {
        let (head, rest) = text.split_once(&self.before)?;
        let rest = rest.strip_prefix(old_token)?;
        Some(format!("{head}{}{new_token}{rest}", self.before))
    }

    fn write(&self, root: &Path, text: &str) -> Result<Instant> {
        let path = root.join(&self.file);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.tmp~"));
        fs::write(&temporary, text).with_context(|| format!("cannot write {}", temporary.display()))?;
        let saved = Instant::now();
        fs::rename(&temporary, &path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(saved)
    }
}

/// Makes unique texts: only letters and digits, so that they mean nothing in any literal.
#[derive(Debug)]
pub(super) struct Tokens {
    session: u64,
    count: u32,
}

impl Tokens {
    /// The tokens of a run, which has a number of its own.
    pub(super) fn new(session: u64) -> Self {
        Self { session, count: 0 }
    }

    pub(super) fn next(&mut self) -> String {
        self.count += 1;
        format!("x{:x}n{:04}", self.session, self.count)
    }
}

/// The places whose text occurs in a response, likeliest first.
pub(super) fn candidates(root: &Path, directories: &[PathBuf], body: &str) -> Vec<Edit> {
    let mut found: Vec<Edit> = Vec::new();
    for directory in directories {
        let mut files: Vec<PathBuf> = ignore::WalkBuilder::new(directory)
            .build()
            .flatten()
            .map(ignore::DirEntry::into_path)
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
            .collect();
        files.sort();
        for file in files {
            let Ok(relative) = file.strip_prefix(root) else { continue };
            if fs::metadata(&file).is_ok_and(|metadata| metadata.len() > FILE_SIZE_MAX_BYTES) {
                continue;
            }
            let Ok(source) = fs::read_to_string(&file) else { continue };
            found.extend(candidates_in(relative, &source, body));
        }
    }
    // Text for people has spaces and is long; an identifier may be a key that something else looks up. A text
    // that occurs twice may be shown from elsewhere.
    let count = |edit: &Edit| found.iter().filter(|other| other.text == edit.text).count();
    let mut ranked: Vec<(usize, Edit)> = found.iter().map(|edit| (count(edit), edit.clone())).collect();
    ranked.sort_by_key(|(count, edit)| {
        (*count, !edit.text.contains(' '), std::cmp::Reverse(edit.text.chars().count()))
    });
    ranked.into_iter().map(|(_, edit)| edit).take(CANDIDATES_COUNT_MAX).collect()
}

fn candidates_in(file: &Path, source: &str, body: &str) -> Vec<Edit> {
    let Ok(tokens) = source.parse::<TokenStream>() else { return Vec::new() };
    let mut literals = Vec::new();
    collect_literals(tokens, &mut literals);
    let mut edits = Vec::new();
    for range in literals {
        let Some(literal) = source.get(range.clone()) else { continue };
        let is_plain = |c: char| c.is_alphanumeric() || PLAIN_PUNCTUATION.contains(c);
        for part in literal.split(|c: char| !is_plain(c)) {
            let text = part.trim();
            let shown = text.chars().count() >= TEXT_LEN_MIN_CHARS
                && text.chars().any(char::is_alphabetic)
                && body.contains(text);
            if shown {
                let start = text.as_ptr() as usize - source.as_ptr() as usize;
                edits.push(Edit::new(file, source, start + text.len(), text));
            }
        }
    }
    edits
}

/// Collects the ranges of string literals, including those in macros, except attributes and documentation.
fn collect_literals(tokens: TokenStream, literals: &mut Vec<std::ops::Range<usize>>) {
    let mut after_hash = false;
    for token in tokens {
        match token {
            TokenTree::Group(group) => {
                if !(after_hash && group.delimiter() == Delimiter::Bracket) {
                    collect_literals(group.stream(), literals);
                }
                after_hash = false;
            }
            TokenTree::Literal(literal) => {
                if matches!(syn::Lit::new(literal.clone()), syn::Lit::Str(_)) {
                    literals.push(literal.span().byte_range());
                }
                after_hash = false;
            }
            TokenTree::Punct(punct) => {
                after_hash = punct.as_char() == '#' || (after_hash && punct.as_char() == '!');
            }
            TokenTree::Ident(_) => after_hash = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r##"//! A few words.
#[doc = "Hello from an attribute"]
const KEY: &str = "page";
fn show(name: &str) -> String {
    let ähnlich = r#"Ünïcode words"#;
    format!("<h1>Hello, dear {name}</h1>{}", html! { p { "a longer text for people" } })
}
"##;

    #[test]
    fn literals_that_are_shown_are_found_in_macros_and_behind_other_letters() {
        let body =
            "<h1>Hello, dear you</h1> Ünïcode words page a longer text for people Hello from an attribute";
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("lib.rs"), SOURCE).unwrap();
        let found = candidates(scratch.path(), &[scratch.path().to_owned()], body);
        let texts: Vec<&str> = found.iter().map(|edit| edit.text.as_str()).collect();
        assert_eq!(texts, ["a longer text for people", "Ünïcode words", "Hello, dear", "page"]);
        for edit in &found {
            edit.save(scratch.path(), "NEW").unwrap();
            let text = fs::read_to_string(scratch.path().join("lib.rs")).unwrap();
            assert_eq!(text, SOURCE.replacen(&edit.text, &format!("{}NEW", edit.text), 1));
            edit.restore(scratch.path()).unwrap();
            assert_eq!(fs::read_to_string(scratch.path().join("lib.rs")).unwrap(), SOURCE);
        }
    }

    #[test]
    fn a_named_place_must_be_there() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("page.html");
        fs::write(&file, "<p>Welcome</p>").unwrap();
        assert_eq!(Edit::named(scratch.path(), &file, "Welcome").unwrap().file, Path::new("page.html"));
        for (root, text) in [(scratch.path(), "Goodbye"), (Path::new("/elsewhere"), "Welcome")] {
            assert!(Edit::named(root, &file, text).unwrap_err().mistake);
        }
    }

    #[test]
    fn tokens_differ() {
        let mut tokens = Tokens::new(7);
        let first = tokens.next();
        assert_ne!(first, tokens.next());
        assert!(first.chars().all(char::is_alphanumeric));
    }
}
