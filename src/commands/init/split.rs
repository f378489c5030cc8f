//! Divides a plain app's `main.rs` into a library that makes the app and a `main` that serves it. It works on the text,
//! so that comments and layout stay, and gives up, saying why, wherever it is not sure.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Block, Expr, GenericArgument, Item, ItemFn, Pat, PathArguments, ReturnType, Stmt, Type, UseTree};

/// The methods that make a router out of a router.
const ROUTER_METHODS: &[&str] = &[
    "route",
    "route_service",
    "nest",
    "nest_service",
    "merge",
    "layer",
    "route_layer",
    "fallback",
    "fallback_service",
    "method_not_allowed_fallback",
    "with_state",
];

/// What becomes of a `main.rs`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// The new `lib.rs`.
    pub library: String,
    /// The new `main.rs`.
    pub main: String,
    /// What a user should know about it.
    pub notes: Vec<String>,
}

/// Divides the text of a `main.rs`; `crate_name` is how the library will be called in Rust.
pub(super) fn split(text: &str, crate_name: &str) -> Result<Split, String> {
    if text.starts_with('\u{feff}') || (text.starts_with("#!") && !text.starts_with("#![")) {
        return Err("main.rs starts with a byte order mark or a `#!` line".into());
    }
    let file = syn::parse_file(text).map_err(|error| format!("main.rs does not parse: {error}"))?;
    let source = Source::read(text, &file)?;
    let served = source.served()?;
    match served {
        Served::Function { name, at } => source.split_at_function(&name, at, crate_name),
        Served::Variable { name, at } => source.split_at_variable(&name, at, crate_name),
    }
}

/// The one function of a library's root that makes an app, with its name.
pub(super) fn find_app_function(text: &str) -> Option<String> {
    let file = syn::parse_file(text).ok()?;
    let candidates: Vec<String> =
        file.items.iter().filter_map(app_function).map(|f| f.sig.ident.to_string()).collect();
    match candidates.as_slice() {
        [only] => Some(only.clone()),
        several => several.iter().find(|name| *name == "app").cloned(),
    }
}

/// A function without arguments that returns a router, or a result with one.
fn app_function(item: &Item) -> Option<&ItemFn> {
    let Item::Fn(function) = item else { return None };
    let fits = function.sig.inputs.is_empty() && function.sig.generics.params.is_empty();
    let ReturnType::Type(_, returned) = &function.sig.output else { return None };
    let router = is_router(returned) || result_of(returned).is_some_and(is_router);
    (fits && router).then_some(function)
}

fn is_router(given: &Type) -> bool {
    last_segment(given).is_some_and(|segment| segment.ident == "Router" && segment.arguments.is_none())
}

/// `T` of `Result<T, …>`.
fn result_of(given: &Type) -> Option<&Type> {
    let segment = last_segment(given).filter(|segment| segment.ident == "Result")?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    match arguments.args.first() {
        Some(GenericArgument::Type(inner)) => Some(inner),
        _ => None,
    }
}

fn last_segment(given: &Type) -> Option<&syn::PathSegment> {
    match given {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

/// What `axum::serve` is given.
enum Served {
    /// What a function of this file returns; `at` is its item.
    Function { name: String, at: usize },
    /// A variable; `at` is the last statement of `main` that sets it.
    Variable { name: String, at: usize },
}

/// A piece of the text: an item or a statement with the comments before it.
#[derive(Clone)]
struct Piece {
    /// With what stands before it.
    whole: Range<usize>,
}

/// A `main.rs`, taken apart.
struct Source<'t> {
    text: &'t str,
    items: &'t [Item],
    pieces: Vec<Piece>,
    /// Inner attributes and documentation.
    head: Range<usize>,
    /// Which item `main` is.
    main: usize,
    function: &'t ItemFn,
    statements: Vec<Piece>,
}

impl<'t> Source<'t> {
    fn read(text: &'t str, file: &'t syn::File) -> Result<Self, String> {
        let head_end = file.attrs.iter().map(|attribute| attribute.span().byte_range().end).max();
        let head = 0..head_end.map_or(0, |end| line_end(text, end));
        let pieces = pieces(text, head.end, file.items.iter().map(|item| item.span().byte_range()));
        let mains = file.items.iter().enumerate().filter_map(|(index, item)| match item {
            Item::Fn(function) if function.sig.ident == "main" => Some((index, function)),
            _ => None,
        });
        let Some((main, function)) = mains.into_iter().next() else {
            return Err("main.rs has no `fn main`".into());
        };
        if function.sig.asyncness.is_none() {
            return Err(
                "its `main` is not async: the part that makes the app cannot be told from the rest".into()
            );
        }
        let Block { brace_token, stmts } = &*function.block;
        let open = brace_token.span.open().byte_range().end;
        let statements = pieces_in(text, open, stmts);
        Ok(Self { text, items: &file.items, pieces, head, main, function, statements })
    }

    fn stmts(&self) -> &[Stmt] {
        &self.function.block.stmts
    }

    /// Finds what is served.
    fn served(&self) -> Result<Served, String> {
        struct Calls<'a>(Vec<&'a Expr>);
        impl<'a> Visit<'a> for Calls<'a> {
            fn visit_expr_call(&mut self, call: &'a syn::ExprCall) {
                let is_serve = match &*call.func {
                    Expr::Path(path) => {
                        path.path.segments.last().is_some_and(|segment| segment.ident == "serve")
                    }
                    _ => false,
                };
                if is_serve && call.args.len() == 2 {
                    self.0.extend(call.args.last());
                }
                visit::visit_expr_call(self, call);
            }
        }
        let mut calls = Calls(Vec::new());
        calls.visit_block(&self.function.block);
        let [served] = calls.0.as_slice() else {
            return Err(format!("its `main` calls `axum::serve` {} times, not once", calls.0.len()));
        };
        let served = match served {
            Expr::MethodCall(call) if call.method == "into_make_service" => &*call.receiver,
            Expr::MethodCall(call) if call.method == "into_make_service_with_connect_info" => {
                return Err(
                    "it uses ConnectInfo; a plugin app reads `devhost_plugin::Remote` from the request's \
                            extensions instead"
                        .into(),
                );
            }
            other => other,
        };
        if let Some((name, at)) = self.called_function(served) {
            return Ok(Served::Function { name, at });
        }
        let name = plain_name(served)
            .ok_or("what it gives to `axum::serve` is neither a variable nor a function")?;
        let at = self
            .stmts()
            .iter()
            .rposition(
                |stmt| matches!(stmt, Stmt::Local(local) if bound_name(&local.pat) == Some(name.clone())),
            )
            .ok_or_else(|| format!("`{name}` is not set by a `let` of `main` itself"))?;
        if let Stmt::Local(local) = &self.stmts()[at]
            && let Some(init) = &local.init
        {
            if let Some((name, at)) = self.called_function(&init.expr) {
                return Ok(Served::Function { name, at });
            }
            if !self.makes_router(&init.expr, &name) {
                return Err(format!("it is not certain that `{name}` is an axum Router"));
            }
        }
        Ok(Served::Variable { name, at })
    }

    /// `f()` or `f().await`, where `f` is a function of this file that makes an app.
    fn called_function(&self, expr: &Expr) -> Option<(String, usize)> {
        let call = match expr {
            Expr::Await(inner) => return self.called_function(&inner.base),
            Expr::Call(call) if call.args.is_empty() => call,
            _ => return None,
        };
        let name = plain_name(&call.func)?;
        let at = self.items.iter().position(|item| {
            app_function(item).is_some_and(|function| function.sig.ident == name.as_str())
        })?;
        Some((name, at))
    }

    /// Whether an expression starts with a router and only calls methods that keep it one.
    fn makes_router(&self, expr: &Expr, variable: &str) -> bool {
        match expr {
            Expr::MethodCall(call) => {
                ROUTER_METHODS.iter().any(|method| call.method == method)
                    && self.makes_router(&call.receiver, variable)
            }
            Expr::Call(call) => match &*call.func {
                Expr::Path(path) => {
                    let names: Vec<_> =
                        path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
                    names.ends_with(&["Router".to_owned(), "new".to_owned()])
                        || names.last().is_some_and(|name| self.returns_router(name))
                }
                _ => false,
            },
            Expr::Await(inner) => self.makes_router(&inner.base, variable),
            _ => plain_name(expr).is_some_and(|name| name == variable),
        }
    }

    fn returns_router(&self, name: &str) -> bool {
        self.items.iter().any(|item| match item {
            Item::Fn(function) => {
                function.sig.ident == name
                    && matches!(&function.sig.output, ReturnType::Type(_, returned) if is_router(returned))
            }
            _ => false,
        })
    }

    /// A function of the file makes the app: it goes to the library, and `main` imports it.
    fn split_at_function(&self, name: &str, at: usize, crate_name: &str) -> Result<Split, String> {
        let statements: Vec<usize> = (0..self.stmts().len()).collect();
        let division = self.divide(&statements, Some(at))?;
        let mut library = self.text[self.head.clone()].to_owned();
        for index in self.library_items(&division) {
            if index == at {
                library.push_str(&self.made_public(index));
            } else {
                self.put_item(&mut library, index, &division);
            }
        }
        let library = finish(library, name);
        let import = format!("use {crate_name}::{name};");
        let main = self.put_main(&division, &import, "", &statements);
        let mut notes = Vec::new();
        if self.stmts().len() > 2 {
            notes.push(format!(
                "under devhost only `{name}` runs; what else `main` does, such as setting up logs, does not"
            ));
        }
        Ok(Split { library, main, notes })
    }

    /// Statements of `main` make the app: they become a function.
    fn split_at_variable(&self, name: &str, at: usize, crate_name: &str) -> Result<Split, String> {
        if self.items.iter().any(|item| item_name(item).as_deref() == Some("app")) {
            return Err("it has something called `app` already".into());
        }
        let (moved, left) = self.divide_statements(name, at)?;
        let facts = Facts::of(moved.iter().map(|index| &self.stmts()[*index]));
        if facts.returns {
            return Err("the part of `main` that makes the app has a `return`".into());
        }
        let returned = if facts.fails { self.fallible_return()? } else { "axum::Router".to_owned() };
        let division = self.divide(&left, None)?;

        let mut library = self.text[self.head.clone()].to_owned();
        let order = self.library_items(&division);
        for index in order {
            self.put_item(&mut library, index, &division);
        }
        let asyncness = if facts.awaits { "async " } else { "" };
        library.truncate(library.trim_end().len());
        library.push_str(&format!("\n\n/// Makes the app.\npub {asyncness}fn app() -> {returned} {{"));
        for index in &moved {
            library.push_str(self.statement(*index));
        }
        library.truncate(library.trim_end().len());
        library.push_str(&if facts.fails {
            format!("\n    Ok({name})\n}}\n")
        } else {
            format!("\n    {name}\n}}\n")
        });
        let library = finish(library, "app");

        let awaits = if facts.awaits { ".await" } else { "" };
        let fails = if facts.fails { "?" } else { "" };
        let assigned = left.iter().any(|index| self.statement(*index).contains(&format!("{name} = ")));
        let name = if assigned { format!("mut {name}") } else { name.to_owned() };
        let made = format!("\n    let {name} = {crate_name}::app(){awaits}{fails};");
        let main = self.put_main(&division, "", &made, &left);
        Ok(Split { library, main, notes: Vec::new() })
    }

    /// Which statements make the app, and which stay: those before `at` that only what comes after it needs.
    fn divide_statements(&self, name: &str, at: usize) -> Result<(Vec<usize>, Vec<usize>), String> {
        let stmts = self.stmts();
        if stmts[..=at].iter().any(|stmt| matches!(stmt, Stmt::Item(_))) {
            return Err("its `main` has items of its own".into());
        }
        let bound: Vec<BTreeSet<String>> = stmts.iter().map(bound_names).collect();
        let used: Vec<HashSet<String>> = (0..stmts.len()).map(|index| words(self.statement(index))).collect();
        let sets_app = |index: usize| bound[index].contains(name);
        let mut stays: BTreeSet<usize> = (at + 1..stmts.len()).collect();
        loop {
            let more: Vec<usize> = (0..at)
                .filter(|index| !stays.contains(index) && !sets_app(*index))
                .filter(|index| {
                    stays
                        .iter()
                        .any(|later| later > index && bound[*index].iter().any(|n| used[*later].contains(n)))
                })
                .collect();
            if more.is_empty() {
                break;
            }
            stays.extend(more);
        }
        let moved: Vec<usize> = (0..=at).filter(|index| !stays.contains(index)).collect();
        for staying in stays.iter().filter(|index| **index < at) {
            if let Some(shared) = bound[*staying]
                .iter()
                .find(|n| moved.iter().any(|later| later > staying && used[*later].contains(*n)))
            {
                return Err(format!("`{shared}` is needed both to make the app and to serve it"));
            }
        }
        Ok((moved, stays.into_iter().collect()))
    }

    /// The return type of `main` with a router in it.
    fn fallible_return(&self) -> Result<String, String> {
        let ReturnType::Type(_, returned) = &self.function.sig.output else {
            return Err("it uses `?`, but `main` returns nothing".into());
        };
        let unit =
            result_of(returned).filter(|inner| matches!(inner, Type::Tuple(tuple) if tuple.elems.is_empty()));
        let Some(unit) = unit else {
            return Err("its `main` returns something else than a `Result<(), …>`".into());
        };
        let (whole, unit) = (returned.span().byte_range(), unit.span().byte_range());
        Ok(format!("{}axum::Router{}", &self.text[whole.start..unit.start], &self.text[unit.end..whole.end]))
    }

    /// Which items `main` keeps: those that nothing else needs.
    fn divide(&self, left: &[usize], exported: Option<usize>) -> Result<Division, String> {
        let mut for_main: HashSet<String> =
            left.iter().flat_map(|index| words(self.statement(*index))).collect();
        let signature = self.pieces[self.main].whole.start..self.function.block.span().byte_range().start;
        for_main.extend(words(&self.text[signature]));
        let mut kept: BTreeSet<usize> = BTreeSet::new();
        loop {
            let more: Vec<usize> = (0..self.items.len())
                .filter(|index| *index != self.main && Some(*index) != exported && !kept.contains(index))
                .filter(|index| item_name(&self.items[*index]).is_some_and(|name| for_main.contains(&name)))
                .collect();
            if more.is_empty() {
                break;
            }
            for index in more {
                for_main.extend(words(self.item(index)));
                kept.insert(index);
            }
        }
        if kept.iter().any(|index| matches!(self.items[*index], Item::Mod(_) | Item::Macro(_)))
            || for_main.contains("crate")
        {
            return Err("the part of `main` that stays needs modules or macros of the app".into());
        }
        let moved = (0..self.stmts().len()).filter(|index| !left.contains(index));
        let mut for_library: HashSet<String> = moved.flat_map(|index| words(self.statement(index))).collect();
        for index in (0..self.items.len()).filter(|index| *index != self.main && !kept.contains(index)) {
            if !matches!(self.items[index], Item::Use(_)) {
                for_library.extend(words(self.item(index)));
            }
        }
        let shared = kept
            .iter()
            .filter_map(|index| item_name(&self.items[*index]))
            .find(|name| for_library.contains(name));
        match shared {
            Some(name) => Err(format!("`{name}` is needed both to make the app and to serve it")),
            None => Ok(Division { kept, for_main, for_library }),
        }
    }

    fn library_items(&self, division: &Division) -> Vec<usize> {
        (0..self.items.len()).filter(|index| *index != self.main && !division.kept.contains(index)).collect()
    }

    /// Writes an item of the library; an import only with what the library uses, or what nobody seems to use: a trait's
    /// methods do not name it.
    fn put_item(&self, library: &mut String, index: usize, division: &Division) {
        let Item::Use(import) = &self.items[index] else {
            library.push_str(self.item(index));
            return;
        };
        let Division { for_main, for_library, .. } = division;
        let wanted = |name: &str| for_library.contains(name) || !for_main.contains(name);
        library.push_str(&self.import(index, import, &wanted));
    }

    /// An import with the names that are wanted: as it is where all are.
    fn import(&self, index: usize, import: &syn::ItemUse, wanted: &dyn Fn(&str) -> bool) -> String {
        let mut leaves = Vec::new();
        collect_leaves(&import.tree, &mut Vec::new(), &mut leaves);
        let chosen: Vec<&Leaf> = leaves.iter().filter(|leaf| wanted(&leaf.name)).collect();
        if chosen.len() == leaves.len() {
            return self.item(index).to_owned();
        }
        let start = import.vis.span().byte_range();
        let visibility =
            if matches!(import.vis, syn::Visibility::Inherited) { "" } else { &self.text[start] };
        let leading = if import.leading_colon.is_some() { "::" } else { "" };
        let space = if visibility.is_empty() { "" } else { " " };
        chosen.iter().map(|leaf| format!("\n{visibility}{space}use {leading}{};", leaf.path)).collect()
    }

    /// The new `main.rs`.
    fn put_main(&self, division: &Division, import: &str, made: &str, left: &[usize]) -> String {
        let mut main = String::new();
        for (index, item) in self.items.iter().enumerate() {
            if let Item::Use(item) = item {
                main.push_str(&self.import(index, item, &|name| division.for_main.contains(name)));
            }
        }
        if !import.is_empty() {
            main = format!("{}\n{import}\n", main.trim_end());
        }
        for index in &division.kept {
            main.push_str(self.item(*index));
        }
        let open = self.function.block.brace_token.span.open().byte_range().end;
        let close = self.function.block.brace_token.span.close().byte_range().start;
        let start = self.pieces[self.main].whole.start;
        main.truncate(main.trim_end().len());
        main.push_str("\n\n");
        main.push_str(self.text[start..open].trim_start());
        main.push_str(made);
        for index in left {
            main.push_str(self.statement(*index));
        }
        let last = self.statements.last().map_or(open, |piece| piece.whole.end);
        main.push_str(&self.text[last..close]);
        if !main.ends_with('\n') {
            main.push('\n');
        }
        main.push_str("}\n");
        main.trim_start().to_owned()
    }

    /// An item with `pub` before it.
    fn made_public(&self, index: usize) -> String {
        let piece = self.pieces[index].whole.clone();
        let Item::Fn(function) = &self.items[index] else { return self.text[piece].to_owned() };
        if !matches!(function.vis, syn::Visibility::Inherited) {
            return self.text[piece].to_owned();
        }
        let at = function.sig.span().byte_range().start;
        format!("{}pub {}", &self.text[piece.start..at], &self.text[at..piece.end])
    }

    fn item(&self, index: usize) -> &'t str {
        &self.text[self.pieces[index].whole.clone()]
    }

    fn statement(&self, index: usize) -> &'t str {
        &self.text[self.statements[index].whole.clone()]
    }
}

/// What goes where.
struct Division {
    /// The items that `main.rs` keeps.
    kept: BTreeSet<usize>,
    for_main: HashSet<String>,
    for_library: HashSet<String>,
}

/// Ends a library with the line that exports the app.
fn finish(library: String, name: &str) -> String {
    format!("{}\n\ndevhost_plugin::export!({name});\n", library.trim())
}

/// Each range with what stands before it, to the end of its line.
fn pieces(text: &str, from: usize, ranges: impl Iterator<Item = Range<usize>>) -> Vec<Piece> {
    let mut start = from;
    ranges
        .map(|range| {
            let end = line_end(text, range.end);
            let piece = Piece { whole: start..end.max(start) };
            start = piece.whole.end;
            piece
        })
        .collect()
}

fn pieces_in(text: &str, from: usize, stmts: &[Stmt]) -> Vec<Piece> {
    pieces(text, from, stmts.iter().map(|stmt| stmt.span().byte_range()))
}

/// The end of what belongs to a place: a comment behind it on the same line does.
fn line_end(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    let line = rest.split('\n').next().unwrap_or_default();
    if line.trim_start().starts_with("//") { at + line.len() } else { at }
}

fn plain_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Path(path) => path.path.get_ident().map(ToString::to_string),
        _ => None,
    }
}

fn bound_name(pat: &Pat) -> Option<String> {
    match pat {
        Pat::Ident(ident) => Some(ident.ident.to_string()),
        Pat::Type(typed) => bound_name(&typed.pat),
        _ => None,
    }
}

/// All names that a statement binds.
fn bound_names(stmt: &Stmt) -> BTreeSet<String> {
    struct Names(BTreeSet<String>);
    impl Visit<'_> for Names {
        fn visit_pat_ident(&mut self, pat: &syn::PatIdent) {
            self.0.insert(pat.ident.to_string());
        }
    }
    let mut names = Names(BTreeSet::new());
    if let Stmt::Local(local) = stmt {
        names.visit_pat(&local.pat);
    }
    names.0
}

fn item_name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Mod(item) => &item.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        // What is implemented for a type goes where the type goes; it is seldom needed by what serves.
        Item::Impl(item) => return last_segment(&item.self_ty).map(|segment| segment.ident.to_string()),
        _ => return None,
    };
    Some(ident.to_string())
}

/// What statements do, beside setting variables.
#[derive(Default)]
struct Facts {
    awaits: bool,
    fails: bool,
    returns: bool,
}

impl Facts {
    fn of<'s>(stmts: impl Iterator<Item = &'s Stmt>) -> Self {
        let mut facts = Self::default();
        for stmt in stmts {
            facts.visit_stmt(stmt);
        }
        facts
    }
}

impl Visit<'_> for Facts {
    fn visit_expr_await(&mut self, expr: &syn::ExprAwait) {
        self.awaits = true;
        visit::visit_expr_await(self, expr);
    }

    fn visit_expr_try(&mut self, expr: &syn::ExprTry) {
        self.fails = true;
        visit::visit_expr_try(self, expr);
    }

    fn visit_expr_return(&mut self, expr: &syn::ExprReturn) {
        self.returns = true;
        visit::visit_expr_return(self, expr);
    }

    // What stands in there is done by others, later.
    fn visit_expr_closure(&mut self, _: &syn::ExprClosure) {}
    fn visit_expr_async(&mut self, _: &syn::ExprAsync) {}
}

/// One name of an import.
struct Leaf {
    name: String,
    path: String,
}

fn collect_leaves(tree: &UseTree, path: &mut Vec<String>, leaves: &mut Vec<Leaf>) {
    let whole = |path: &[String], last: &str| {
        path.iter().map(String::as_str).chain([last]).collect::<Vec<_>>().join("::")
    };
    match tree {
        UseTree::Path(part) => {
            path.push(part.ident.to_string());
            collect_leaves(&part.tree, path, leaves);
            path.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            let (prefix, last) = path.split_at(path.len().saturating_sub(1));
            let last = last.first().cloned().unwrap_or_default();
            leaves.push(Leaf { path: whole(prefix, &last), name: last });
        }
        UseTree::Name(name) => {
            leaves.push(Leaf { name: name.ident.to_string(), path: whole(path, &name.ident.to_string()) });
        }
        UseTree::Rename(name) => {
            let last = format!("{} as {}", name.ident, name.rename);
            leaves.push(Leaf { name: name.rename.to_string(), path: whole(path, &last) });
        }
        UseTree::Glob(_) => leaves.push(Leaf { name: "*".into(), path: whole(path, "*") }),
        UseTree::Group(group) => {
            for tree in &group.items {
                collect_leaves(tree, path, leaves);
            }
        }
    }
}

/// All words of a piece of code: identifiers, and what format strings capture.
fn words(text: &str) -> HashSet<String> {
    fn collect(tokens: TokenStream, words: &mut HashSet<String>) {
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    words.insert(ident.to_string());
                }
                TokenTree::Group(group) => collect(group.stream(), words),
                TokenTree::Literal(literal) => {
                    for part in literal.to_string().split('{').skip(1) {
                        let name: String =
                            part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                        if !name.is_empty() {
                            words.insert(name);
                        }
                    }
                }
                TokenTree::Punct(_) => {}
            }
        }
    }
    let mut found = HashSet::new();
    if let Ok(tokens) = text.parse::<TokenStream>() {
        collect(tokens, &mut found);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMON: &str = r#"//! A shop.
#![deny(missing_docs)]

mod pages;

use axum::{Router, routing::get};
use std::net::SocketAddr;
use tokio::net::TcpListener;

const PORT: u16 = 3000;

// Greets.
async fn hello() -> &'static str {
    "hello"
}

#[tokio::main]
async fn main() {
    // Logs first.
    tracing_subscriber::fmt::init();
    let addr = SocketAddr::from(([0, 0, 0, 0], PORT));
    let state = pages::State::new(); // cheap
    let app = Router::new().route("/", get(hello)).with_state(state);

    let listener = TcpListener::bind(addr).await.unwrap();
    println!("at {addr}");
    axum::serve(listener, app).await.unwrap();
}
"#;

    #[test]
    fn the_commonest_shape_is_divided() {
        let Split { library, main, notes } = split(COMMON, "shop").unwrap();
        assert!(notes.is_empty());
        assert_eq!(
            library,
            r#"//! A shop.
#![deny(missing_docs)]

mod pages;

use axum::{Router, routing::get};

// Greets.
async fn hello() -> &'static str {
    "hello"
}

/// Makes the app.
pub fn app() -> axum::Router {
    // Logs first.
    tracing_subscriber::fmt::init();
    let state = pages::State::new(); // cheap
    let app = Router::new().route("/", get(hello)).with_state(state);
    app
}

devhost_plugin::export!(app);
"#
        );
        assert_eq!(
            main,
            r#"use std::net::SocketAddr;
use tokio::net::TcpListener;

const PORT: u16 = 3000;

#[tokio::main]
async fn main() {
    let app = shop::app();
    let addr = SocketAddr::from(([0, 0, 0, 0], PORT));

    let listener = TcpListener::bind(addr).await.unwrap();
    println!("at {addr}");
    axum::serve(listener, app).await.unwrap();
}
"#
        );
        for part in [library, main] {
            syn::parse_file(&part).unwrap();
        }
    }

    #[test]
    fn an_app_that_awaits_and_fails_returns_a_result() {
        let text = r#"
use axum::Router;
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = connect().await?;
    let mut app = Router::new();
    app = app.merge(Router::new());
    let app = app.with_state(pool);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app.into_make_service()).await?;
    Ok(())
}
"#;
        let Split { library, main, .. } = split(text, "shop").unwrap();
        assert!(
            library.contains("pub async fn app() -> Result<axum::Router, Box<dyn std::error::Error>> {"),
            "{library}"
        );
        assert!(library.contains("    let app = app.with_state(pool);\n    Ok(app)\n}"), "{library}");
        assert!(main.contains("let app = shop::app().await?;\n    let listener"), "{main}");
        assert!(main.contains("    Ok(())\n}\n"), "{main}");
    }

    #[test]
    fn a_function_that_makes_the_app_is_exported_as_it_is() {
        let text = r#"
use axum::Router;
#[tokio::main]
async fn main() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await.unwrap();
    axum::serve(listener, router()).await.unwrap();
}

/// The routes.
fn router() -> Router {
    Router::new()
}
"#;
        let Split { library, main, .. } = split(text, "shop").unwrap();
        assert!(library.contains("/// The routes.\npub fn router() -> Router {"), "{library}");
        assert!(library.ends_with("devhost_plugin::export!(router);\n"), "{library}");
        assert!(main.starts_with("use shop::router;\n"), "{main}");
        assert!(main.contains("axum::serve(listener, router())") && !main.contains("fn router"), "{main}");
    }

    fn refusal(main: &str) -> String {
        split(&format!("use axum::Router;\n{main}"), "shop").unwrap_err()
    }

    #[test]
    fn what_is_not_certain_is_refused_with_the_reason() {
        let serve = "axum::serve(listener, app).await.unwrap();";
        assert!(refusal("fn main() {}").contains("not async"));
        assert!(refusal("async fn main() { run().await }").contains("0 times"));
        let wrapped = format!("async fn main() {{ let app = wrap(Router::new()); {serve} }}");
        assert!(refusal(&wrapped).contains("not certain"));
        let shared = format!(
            "async fn main() {{ let config = load(); let app = Router::new().with_state(config.clone()); \
             let listener = bind(config.port).await; {serve} }}"
        );
        assert!(refusal(&shared).contains("`config` is needed both"));
        let info = "async fn main() { let app = Router::new(); \
                    axum::serve(l, app.into_make_service_with_connect_info::<A>()).await; }";
        assert!(refusal(info).contains("ConnectInfo"));
        let module =
            format!("mod config; async fn main() {{ let app = Router::new(); config::print(); {serve} }}");
        assert!(refusal(&module).contains("modules"));
        let returns =
            format!("async fn main() {{ if bad() {{ return; }} let app = Router::new(); {serve} }}");
        assert!(refusal(&returns).contains("return"));
        assert!(refusal("async fn main() {").contains("does not parse"));
    }

    #[test]
    fn the_function_of_a_library_is_found_where_there_is_no_doubt() {
        let found = |text: &str| find_app_function(text);
        assert_eq!(found("pub fn routes() -> axum::Router { x() }"), Some("routes".into()));
        assert_eq!(found("pub async fn make() -> anyhow::Result<Router> { x() }"), Some("make".into()));
        assert_eq!(found("fn a() -> Router { x() } fn app() -> Router { a() }"), Some("app".into()));
        assert_eq!(found("fn a() -> Router { x() } fn b() -> Router { a() }"), None);
        assert_eq!(found("fn app(state: State) -> Router { x() }"), None);
        assert_eq!(found("fn app() -> Router<State> { x() }"), None);
    }
}
