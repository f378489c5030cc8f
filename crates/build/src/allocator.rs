//! Finds the `#[global_allocator]` in force in an app, ignoring what `cfg` leaves out. Reads source files; an
//! allocator in a macro's arguments counts as declared.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use cargo_metadata::cargo_platform::{Cfg, CfgExpr};
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Item, Lit, Meta};

const ALLOCATOR: &str = "global_allocator";

/// Limit on source files read per crate.
const FILES_COUNT_MAX: usize = 2_000;

/// The source file that declares the allocator of the crate rooted at `root`, modules included. `cfg` is what
/// rustc reports as set.
pub fn declared(root: &Path, cfg: &[Cfg]) -> Option<PathBuf> {
    let mut seen = HashSet::new();
    let mut left = vec![(root.to_owned(), root.parent()?.to_owned())];
    while let Some((path, directory)) = left.pop() {
        if seen.len() >= FILES_COUNT_MAX || !seen.insert(path.clone()) {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let Ok(file) = syn::parse_file(&text) else { continue };
        let search = Search::of(&file, cfg);
        if search.found {
            return Some(path);
        }
        left.extend(search.modules.iter().filter_map(|module| module.find(&directory, path.parent()?)));
    }
    None
}

/// Whether a file's text declares an allocator in force. Text that does not parse counts: rustc will report
/// it.
pub(crate) fn is_declared_in(text: &str, cfg: &[Cfg]) -> bool {
    syn::parse_file(text).is_ok_and(|file| Search::of(&file, cfg).found)
}

/// `mod name;`, within `mod outer { … }`.
struct Module {
    outer: PathBuf,
    name: String,
    path: Option<String>,
}

impl Module {
    /// Its file, and the directory of its own modules. `directory` holds its parent's modules; `beside`, its
    /// parent's file, which `#[path]` is relative to.
    fn find(&self, directory: &Path, beside: &Path) -> Option<(PathBuf, PathBuf)> {
        if let Some(path) = &self.path {
            let base = if self.outer.as_os_str().is_empty() { beside } else { directory };
            let file = base.join(&self.outer).join(path);
            let directory = file.parent()?.to_owned();
            return Some((file, directory));
        }
        let own = directory.join(&self.outer).join(&self.name);
        let file = [own.with_extension("rs"), own.join("mod.rs")].into_iter().find(|file| file.is_file())?;
        Some((file, own))
    }
}

struct Search<'c> {
    cfg: &'c [Cfg],
    found: bool,
    modules: Vec<Module>,
    outer: PathBuf,
}

impl<'c> Search<'c> {
    fn of(file: &syn::File, cfg: &'c [Cfg]) -> Self {
        let mut search = Self { cfg, found: false, modules: Vec::new(), outer: PathBuf::new() };
        if search.is_kept(&file.attrs) {
            search.visit_file(file);
        }
        search
    }

    fn holds(&self, condition: &TokenStream) -> bool {
        // Better a superfluous note than a missing one.
        condition.to_string().parse::<CfgExpr>().map_or(true, |condition| condition.matches(self.cfg))
    }

    /// Whether no `cfg` among the attributes leaves the item out.
    fn is_kept(&self, attributes: &[Attribute]) -> bool {
        attributes.iter().all(|attribute| match &attribute.meta {
            Meta::List(list) if list.path.is_ident("cfg") => self.holds(&list.tokens),
            Meta::List(list) if list.path.is_ident("cfg_attr") => {
                self.applied(&list.tokens).iter().all(|applied| match within("cfg", applied) {
                    Some(condition) => self.holds(&condition),
                    None => true,
                })
            }
            _ => true,
        })
    }

    fn is_allocator(&self, attributes: &[Attribute]) -> bool {
        attributes.iter().any(|attribute| match &attribute.meta {
            Meta::Path(path) => path.is_ident(ALLOCATOR),
            Meta::List(list) if list.path.is_ident("cfg_attr") => {
                self.applied(&list.tokens).iter().any(|applied| applied.to_string() == ALLOCATOR)
            }
            _ => false,
        })
    }

    /// The attributes `cfg_attr(condition, attributes…)` expands to.
    fn applied(&self, tokens: &TokenStream) -> Vec<TokenStream> {
        let mut parts = split(tokens).into_iter();
        if !parts.next().is_some_and(|condition| self.holds(&condition)) {
            return Vec::new();
        }
        parts
            .flat_map(|part| match within("cfg_attr", &part) {
                Some(nested) => self.applied(&nested),
                None => vec![part],
            })
            .collect()
    }
}

impl Visit<'_> for Search<'_> {
    fn visit_item(&mut self, item: &Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Macro(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Static(item) => &item.attrs,
            Item::Const(item) => &item.attrs,
            Item::Trait(item) => &item.attrs,
            _ => return,
        };
        if self.is_kept(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_static(&mut self, item: &syn::ItemStatic) {
        self.found |= self.is_allocator(&item.attrs);
        visit::visit_item_static(self, item);
    }

    fn visit_item_macro(&mut self, item: &syn::ItemMacro) {
        // `cfg_if! { … }` and the like. A `macro_rules!` alone declares nothing.
        self.found |= !item.mac.path.is_ident("macro_rules") && mentions(&item.mac.tokens);
    }

    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        let name = item.ident.to_string();
        if item.content.is_none() {
            let path = item.attrs.iter().find_map(path_attribute);
            self.modules.push(Module { outer: self.outer.clone(), name, path });
            return;
        }
        self.outer.push(name);
        visit::visit_item_mod(self, item);
        self.outer.pop();
    }
}

fn path_attribute(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    match &pair.value {
        Expr::Lit(literal) if pair.path.is_ident("path") => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

/// The contents of the parentheses in `name(…)`.
fn within(name: &str, tokens: &TokenStream) -> Option<TokenStream> {
    let mut tokens = tokens.clone().into_iter();
    match (tokens.next()?, tokens.next()?) {
        (TokenTree::Ident(ident), TokenTree::Group(group)) if ident == name => Some(group.stream()),
        _ => None,
    }
}

fn split(tokens: &TokenStream) -> Vec<TokenStream> {
    let mut parts = vec![TokenStream::new()];
    for token in tokens.clone() {
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == ',' => parts.push(TokenStream::new()),
            _ => parts.last_mut().expect("it starts with one").extend([token]),
        }
    }
    parts
}

fn mentions(tokens: &TokenStream) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == ALLOCATOR,
        TokenTree::Group(group) => mentions(&group.stream()),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cfg() -> Vec<Cfg> {
        ["unix", "target_env=\"gnu\"", "feature=\"fast\"", "debug_assertions"]
            .iter()
            .map(|cfg| cfg.parse().unwrap())
            .collect()
    }

    #[test]
    fn an_allocator_counts_only_if_it_is_compiled_in() {
        let declaration = "static A: X = X;";
        for kept in [
            "#[global_allocator]",
            "#[cfg(unix)] #[global_allocator]",
            "#[global_allocator] #[cfg(all(unix, not(windows), feature = \"fast\"))]",
            "#[cfg_attr(unix, global_allocator)]",
            "#[cfg_attr(unix, allow(dead_code), cfg_attr(debug_assertions, global_allocator))]",
        ] {
            assert!(is_declared_in(&format!("{kept} {declaration}"), &cfg()), "{kept}");
        }
        for left_out in [
            "",
            "// #[global_allocator]\n",
            "#[cfg(not(debug_assertions))] #[global_allocator]",
            "#[cfg(feature = \"slow\")] #[global_allocator]",
            "#[cfg_attr(target_env = \"musl\", global_allocator)]",
            "#[cfg_attr(unix, cfg(windows))] #[global_allocator]",
        ] {
            assert!(!is_declared_in(&format!("{left_out} {declaration}"), &cfg()), "{left_out}");
        }
        assert!(!is_declared_in("#[cfg(windows)] mod m { #[global_allocator] static A: X = X; }", &cfg()));
        assert!(is_declared_in("mod m { #[global_allocator] static A: X = X; }", &cfg()));
        assert!(!is_declared_in("#![cfg(windows)]\n#[global_allocator] static A: X = X;", &cfg()));
    }

    #[test]
    fn what_a_macro_holds_counts() {
        assert!(is_declared_in("cfg_if! { if #[cfg(x)] { #[global_allocator] static A: X = X; } }", &cfg()));
        assert!(!is_declared_in("macro_rules! m { () => { #[global_allocator] static A: X = X; } }", &cfg()));
    }

    #[test]
    fn modules_are_followed_unless_they_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let allocator = "#[global_allocator] static A: X = X;";
        let root = dir.path().join("main.rs");
        write("a/b.rs", allocator);
        write("a/mod.rs", "mod b;");
        for (text, found) in [
            ("mod a;", true),
            ("#[cfg(windows)] mod a;", false),
            ("#[cfg(feature = \"fast\")] mod a;", true),
            ("#[path = \"a/b.rs\"] mod other;", true),
            ("mod a { mod b; }", true),
            ("mod missing;", false),
        ] {
            write("main.rs", text);
            assert_eq!(declared(&root, &cfg()).is_some(), found, "{text}");
        }
    }
}
