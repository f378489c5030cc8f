//! A workspace as data: its files, and what its app must print. Both derive from the same few values, so the
//! right answer to any change is known without a build. Writes no file and runs nothing.
//!
//! Each way by which one crate can show in another occurs once: constants, types, inlined and generic
//! functions, macros by example, procedural macros, features, the environment, included and generated files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use devhost_model::AppKind;

/// The crate that is the app. The others follow, and each depends only on later ones.
const APP: usize = 0;

/// The variable set by `.cargo/config.toml`.
const VARIABLE: &str = "EQUIVALENCE_VALUE";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Text(String),
    /// A symbolic link.
    Link(String),
}

/// Where a module's text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `NAME.rs`
    File,
    /// `NAME/mod.rs`
    Directory,
    /// `NAME_elsewhere.rs`, named by an attribute.
    Attribute,
    /// `NAME.rs` is a symbolic link to one of two files outside `src`.
    Link(bool),
}

pub(super) const FORMS: [Form; 5] =
    [Form::File, Form::Directory, Form::Attribute, Form::Link(false), Form::Link(true)];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Module {
    pub form: Form,
    pub text: u32,
    /// A module within it, with its own file.
    pub inner: Option<u32>,
}

/// Where an included file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Beside,
    AboveSource,
    /// One file for all crates.
    AboveWorkspace,
}

pub(super) const PLACES: [Place; 3] = [Place::Beside, Place::AboveSource, Place::AboveWorkspace];

/// What a build script tells cargo about its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// All of them.
    All,
    /// Nothing, so every file of the package is one.
    Nothing,
    /// A missing one: cargo runs it every time.
    Missing,
}

pub(super) const NAMINGS: [Naming; 3] = [Naming::All, Naming::Nothing, Naming::Missing];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script {
    /// The content of the file it reads.
    pub input: u32,
    /// What it adds itself.
    pub text: u32,
    /// It looks into a directory, not at one file.
    pub directory: bool,
    pub naming: Naming,
    /// It uses the first of its crate's dependencies.
    pub helper: bool,
}

/// What is wrong with a crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Syntax,
    Type,
    /// A module without a file.
    Missing,
    /// A module with two files.
    Twice,
    /// Like [`Fault::Twice`], but the module and its file were there before.
    Beside,
    /// A missing included file.
    Include,
}

pub(super) const FAULTS: [Fault; 6] =
    [Fault::Syntax, Fault::Type, Fault::Missing, Fault::Twice, Fault::Beside, Fault::Include];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Crate {
    pub uses: BTreeSet<usize>,
    /// The package's version, which the code can read.
    pub version: u32,
    pub text: u32,
    pub constant: u32,
    /// The length of an array type.
    pub length: u32,
    /// A type is `u64`, not `u32`.
    pub wide: bool,
    pub generic: u32,
    pub inlined: u32,
    pub macro_text: u32,
    /// How many lines precede the one that asks for its number.
    pub lines: u32,
    pub modules: BTreeMap<String, Module>,
    pub include: Option<(Place, u32)>,
    pub script: Option<Script>,
    /// Reads the variable, or requires it if `true`.
    pub variable: Option<bool>,
    /// A feature is on by default.
    pub extra: bool,
    /// Dependents switch the crate's other feature on.
    pub asked: bool,
    pub maker: bool,
    pub fault: Option<Fault>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Model {
    pub kind: AppKind,
    /// The app has a library beside the binary. Plugin apps are libraries anyway.
    pub library: bool,
    pub crates: Vec<Crate>,
    /// The last crate is outside the workspace's directory.
    pub outside: bool,
    /// What the procedural macro makes.
    pub maker: u32,
    /// The variable's value in the configuration.
    pub variable: Option<u32>,
    /// The content of the file that crates may include together.
    pub shared: u32,
}

impl Crate {
    pub(super) fn new() -> Self {
        Self {
            uses: BTreeSet::new(),
            version: 1,
            text: 1,
            constant: 1,
            length: 1,
            wide: false,
            generic: 1,
            inlined: 1,
            macro_text: 1,
            lines: 1,
            modules: BTreeMap::new(),
            include: None,
            script: None,
            variable: None,
            extra: false,
            asked: false,
            maker: false,
            fault: None,
        }
    }

    /// The crate used by its build script.
    fn helper(&self) -> Option<usize> {
        self.script.as_ref().filter(|script| script.helper).and(self.uses.first().copied())
    }

    /// A module that rustc finds by its name.
    fn usual_module(&self) -> Option<(&String, &Module)> {
        self.modules.iter().find(|(_, module)| module.form != Form::Attribute)
    }
}

/// A root file, and the line numbers it shows.
struct Root {
    text: String,
    own_line: usize,
    macro_lines: BTreeMap<usize, usize>,
}

impl Model {
    /// One file per entry, below a directory in which `ws` is the workspace.
    pub(super) fn files(&self) -> BTreeMap<String, Entry> {
        let mut files = BTreeMap::new();
        let mut text = |path: String, text: String| files.insert(path, Entry::Text(text));
        text("ws/Cargo.toml".into(), self.workspace_manifest());
        text("ws/shared.txt".into(), format!("shared {}", self.shared));
        if let Some(value) = self.variable {
            text("ws/.cargo/config.toml".into(), format!("[env]\n{VARIABLE} = '{value}'\n"));
        }
        if self.kind == AppKind::Plugin {
            text("ws/plugin/Cargo.toml".into(), manifest("devhost-plugin", 1, ""));
            text("ws/plugin/src/lib.rs".into(), PLUGIN.into());
        }
        if self.has_maker() {
            text("ws/maker/Cargo.toml".into(), manifest("maker", 1, "[lib]\nproc-macro = true\n"));
            text("ws/maker/src/lib.rs".into(), maker(self.maker));
        }
        for index in 0..self.crates.len() {
            self.crate_files(index, &mut files);
        }
        files
    }

    /// What the app prints; `None` if it does not build.
    pub(super) fn response(&self) -> Option<String> {
        let broken =
            |part: &Crate| part.fault.is_some() || (part.variable == Some(true) && self.variable.is_none());
        let reached = self.reached();
        if reached.iter().any(|index| broken(&self.crates[*index])) {
            return None;
        }
        let response = self.crate_response(APP);
        Some(if self.has_own_binary() {
            format!("bin {} {response}", self.crates[APP].text)
        } else {
            response
        })
    }

    /// Makes it build again.
    pub(super) fn mend(&mut self) {
        for part in &mut self.crates {
            part.fault = None;
            part.variable = part.variable.map(|demanded| demanded && self.variable.is_some());
        }
    }

    /// The crates that are part of the app.
    pub(super) fn reached(&self) -> BTreeSet<usize> {
        let mut reached = BTreeSet::from([APP]);
        for index in 0..self.crates.len() {
            if reached.contains(&index) {
                reached.extend(&self.crates[index].uses);
            }
        }
        reached
    }

    fn name(&self, index: usize) -> String {
        if index == APP { "app".into() } else { format!("part{index}") }
    }

    fn is_outside(&self, index: usize) -> bool {
        self.outside && index + 1 == self.crates.len()
    }

    /// The crate's directory, seen from above the workspace.
    pub(super) fn directory(&self, index: usize) -> String {
        if self.is_outside(index) { "outside".into() } else { format!("ws/{}", self.name(index)) }
    }

    fn has_own_binary(&self) -> bool {
        self.kind == AppKind::Plain && self.library
    }

    fn has_maker(&self) -> bool {
        self.crates.iter().any(|part| part.maker)
    }

    fn workspace_manifest(&self) -> String {
        let mut members: Vec<String> = (0..self.crates.len())
            .filter(|index| !self.is_outside(*index))
            .map(|index| format!("'{}'", self.name(index)))
            .collect();
        if self.kind == AppKind::Plugin {
            members.push("'plugin'".into());
        }
        if self.has_maker() {
            members.push("'maker'".into());
        }
        format!("[workspace]\nresolver = '3'\nmembers = [{}]\n", members.join(", "))
    }

    fn crate_manifest(&self, index: usize) -> String {
        let part = &self.crates[index];
        let up = if self.is_outside(index) { "../ws" } else { ".." };
        let mut more = String::from("[features]\nextra = []\nasked = []\n");
        if part.extra {
            more.push_str("default = ['extra']\n");
        }
        more.push_str("[dependencies]\n");
        let dependency = |used: usize| {
            let name = self.name(used);
            let path = if self.is_outside(used) { "../../outside".into() } else { format!("{up}/{name}") };
            let features = if self.crates[used].asked { ", features = ['asked']" } else { "" };
            format!("{name} = {{ path = '{path}'{features} }}\n")
        };
        part.uses.iter().for_each(|used| more.push_str(&dependency(*used)));
        if index == APP && self.kind == AppKind::Plugin {
            more.push_str("devhost-plugin = { path = '../plugin' }\n");
        }
        if part.maker {
            writeln!(more, "maker = {{ path = '{up}/maker' }}").unwrap();
        }
        if let Some(helper) = part.helper() {
            more.push_str("[build-dependencies]\n");
            more.push_str(&dependency(helper));
        }
        manifest(&self.name(index), part.version, &more)
    }

    fn crate_files(&self, index: usize, files: &mut BTreeMap<String, Entry>) {
        let part = &self.crates[index];
        let mut own: Vec<(String, Entry)> = Vec::new();
        let mut text = |path: &str, text: String| own.push((path.into(), Entry::Text(text)));
        text("Cargo.toml", self.crate_manifest(index));
        let root = self.root(index).text;
        if index == APP && self.has_own_binary() {
            let own = part.text;
            text("src/main.rs", main_function(&format!("format!(\"bin {own} {{}}\", app::response())")));
            text("src/lib.rs", root);
        } else if index == APP && self.kind == AppKind::Plain {
            text("src/main.rs", root);
        } else {
            text("src/lib.rs", root);
        }
        match part.include {
            Some((Place::Beside, value)) => text("src/included.txt", format!("beside {value}")),
            Some((Place::AboveSource, value)) => text("included.txt", format!("above {value}")),
            Some((Place::AboveWorkspace, _)) | None => {}
        }
        if let Some(script) = &part.script {
            let helper = part.helper().map(|helper| self.name(helper));
            text("build.rs", build_script(script, helper.as_deref()));
            text("input/value.txt", script.input.to_string());
        }
        if part.fault == Some(Fault::Twice) {
            text("src/twice.rs", String::new());
            text("src/twice/mod.rs", String::new());
        }
        for (name, module) in &part.modules {
            module_files(name, module, &mut own);
        }
        if let (Some(Fault::Beside), Some((name, module))) = (part.fault, part.usual_module()) {
            let path = match module.form {
                Form::Directory => format!("src/{name}.rs"),
                Form::File | Form::Link(_) | Form::Attribute => format!("src/{name}/mod.rs"),
            };
            own.push((path, Entry::Text(String::new())));
        }
        let directory = self.directory(index);
        files.extend(own.into_iter().map(|(path, entry)| (format!("{directory}/{path}"), entry)));
    }

    /// Two modules may not have an inner module at the same path, and a doubled one must exist.
    pub(super) fn is_sound(&self) -> bool {
        self.crates.iter().all(|part| {
            if part.fault == Some(Fault::Beside) && part.usual_module().is_none() {
                return false;
            }
            let attribute = |module: &&Module| module.form == Form::Attribute && module.inner.is_some();
            part.modules.values().filter(attribute).count() <= 1
        })
    }

    fn root(&self, index: usize) -> Root {
        let part = &self.crates[index];
        let mut root = Root { text: String::new(), own_line: 0, macro_lines: BTreeMap::new() };
        let text = &mut root.text;
        text.push_str("#![allow(warnings)]\n");
        for (name, module) in &part.modules {
            if module.form == Form::Attribute {
                writeln!(text, "#[path = \"{name}_elsewhere.rs\"]").unwrap();
            }
            writeln!(text, "mod {name};").unwrap();
        }
        match part.fault {
            Some(Fault::Syntax) => text.push_str("fn broken( {\n"),
            Some(Fault::Type) => text.push_str("const BROKEN: u32 = \"text\";\n"),
            Some(Fault::Missing) => text.push_str("mod missing;\n"),
            Some(Fault::Twice) => text.push_str("mod twice;\n"),
            Some(Fault::Include) => text.push_str("const GONE: &str = include_str!(\"gone.txt\");\n"),
            Some(Fault::Beside) | None => {}
        }
        if part.script.is_some() {
            text.push_str("include!(concat!(env!(\"OUT_DIR\"), \"/generated.rs\"));\n");
        }
        writeln!(
            text,
            "pub const CONSTANT: u32 = {};
pub type Array = [u8; {}];
pub fn number() -> {} {{ 0 }}
pub fn generic<T: std::fmt::Display>(shown: T) -> String {{ format!(\"{{shown}}-{}\") }}
#[inline(always)]
pub fn inlined() -> u32 {{ {} }}
#[macro_export]
macro_rules! example {{ () => {{ concat!(\"macro \", {}, \" \", line!()) }} }}
fn private() -> String {{ \"text {}\".to_string() }}",
            part.constant,
            part.length,
            if part.wide { "u64" } else { "u32" },
            part.generic,
            part.inlined,
            part.macro_text,
            part.text,
        )
        .unwrap();
        for line in 0..part.lines {
            writeln!(text, "// {line}").unwrap();
        }
        text.push_str("fn here() -> u32 { line!() }\n");
        root.own_line = text.lines().count();
        text.push_str("pub fn response() -> String {\n    let mut out = String::new();\n");
        let mut show = |value: &str| writeln!(text, "    out += &format!(\"{{}};\", {value});").unwrap();
        show("concat!(env!(\"CARGO_PKG_NAME\"), \" \", env!(\"CARGO_PKG_VERSION\"))");
        show("private()");
        show("here()");
        show("cfg!(feature = \"extra\")");
        show("cfg!(feature = \"asked\")");
        for (name, module) in &part.modules {
            show(&format!("{name}::TEXT"));
            if module.inner.is_some() {
                show(&format!("{name}::inner::TEXT"));
            }
        }
        match part.include {
            Some((Place::Beside, _)) => show("include_str!(\"included.txt\")"),
            Some((Place::AboveSource, _)) => show("include_str!(\"../included.txt\")"),
            Some((Place::AboveWorkspace, _)) => show(&if self.is_outside(index) {
                "include_str!(\"../../ws/shared.txt\")".to_owned()
            } else {
                "include_str!(\"../../shared.txt\")".to_owned()
            }),
            None => {}
        }
        if part.script.is_some() {
            show("GENERATED");
            show("env!(\"SCRIPT_VALUE\")");
        }
        if part.helper().is_some() {
            show("env!(\"HELPER_VALUE\")");
        }
        match part.variable {
            Some(true) => show(&format!("env!(\"{VARIABLE}\")")),
            Some(false) => show(&format!("option_env!(\"{VARIABLE}\").unwrap_or(\"none\")")),
            None => {}
        }
        if part.maker {
            show("maker::make!()");
        }
        for used in &part.uses {
            let name = self.name(*used);
            show(&format!("{name}::CONSTANT"));
            show(&format!("std::mem::size_of::<{name}::Array>()"));
            show(&format!("std::mem::size_of_val(&{name}::number())"));
            show(&format!("{name}::generic(7u8)"));
            show(&format!("{name}::inlined()"));
            show(&format!("{name}::example!()"));
            show(&format!("{name}::response()"));
        }
        text.push_str("    out\n}\n");
        if index == APP {
            match self.kind {
                AppKind::Plain if self.library => {}
                AppKind::Plain => text.push_str(&main_function("response()")),
                AppKind::Plugin => text.push_str(PLUGIN_MAIN),
            }
        }
        for used in &part.uses {
            let call = format!("{}::example!()", self.name(*used));
            let line = root.text.lines().position(|line| line.contains(&call)).unwrap() + 1;
            root.macro_lines.insert(*used, line);
        }
        root
    }

    fn crate_response(&self, index: usize) -> String {
        let part = &self.crates[index];
        let root = self.root(index);
        let mut values = vec![
            format!("{} 0.{}.0", self.name(index), part.version),
            format!("text {}", part.text),
            root.own_line.to_string(),
            part.extra.to_string(),
            (part.asked && index != APP).to_string(),
        ];
        for (name, module) in &part.modules {
            values.push(match module.form {
                Form::Link(other) => format!("{name} {} {}", u8::from(other), module.text),
                _ => format!("{name} {}", module.text),
            });
            values.extend(module.inner.map(|inner| format!("inner {inner}")));
        }
        match part.include {
            Some((Place::Beside, value)) => values.push(format!("beside {value}")),
            Some((Place::AboveSource, value)) => values.push(format!("above {value}")),
            Some((Place::AboveWorkspace, _)) => values.push(format!("shared {}", self.shared)),
            None => {}
        }
        if let Some(script) = &part.script {
            values.push(format!("generated {} {}", script.text, script.input));
            values.push(format!("set {} {}", script.text, script.input));
        }
        values.extend(part.helper().map(|helper| format!("helper {}", self.crates[helper].constant)));
        if part.variable.is_some() {
            values.push(self.variable.map_or("none".into(), |value| value.to_string()));
        }
        if part.maker {
            values.push(format!("made {}", self.maker));
        }
        for used in &part.uses {
            let other = &self.crates[*used];
            values.push(other.constant.to_string());
            values.push(other.length.to_string());
            values.push(if other.wide { "8" } else { "4" }.into());
            values.push(format!("7-{}", other.generic));
            values.push(other.inlined.to_string());
            values.push(format!("macro {} {}", other.macro_text, root.macro_lines[used]));
            values.push(self.crate_response(*used));
        }
        values.iter().fold(String::new(), |text, value| text + value + ";")
    }
}

fn module_files(name: &str, module: &Module, files: &mut Vec<(String, Entry)>) {
    let inner = if module.inner.is_some() { "pub mod inner;\n" } else { "" };
    let body = |text: String| format!("pub const TEXT: &str = \"{name} {text}\";\n{inner}");
    let mut text = |path: String, text: String| files.push((path, Entry::Text(text)));
    // Where a module within it is looked for.
    let mut below = format!("src/{name}");
    match module.form {
        Form::File => text(format!("src/{name}.rs"), body(module.text.to_string())),
        Form::Directory => text(format!("src/{name}/mod.rs"), body(module.text.to_string())),
        Form::Attribute => {
            text(format!("src/{name}_elsewhere.rs"), body(module.text.to_string()));
            below = "src".into();
        }
        Form::Link(_) => {}
    }
    // Kept when the module no longer uses them, so that a remembered link leads somewhere.
    for target in [0, 1] {
        text(format!("linked/{name}_{target}.rs"), body(format!("{target} {}", module.text)));
    }
    if let Some(inner) = module.inner {
        text(format!("{below}/inner.rs"), format!("pub const TEXT: &str = \"inner {inner}\";\n"));
    }
    if let Form::Link(second) = module.form {
        let target = format!("../linked/{name}_{}.rs", u8::from(second));
        files.push((format!("src/{name}.rs"), Entry::Link(target)));
    }
}

fn manifest(name: &str, version: u32, more: &str) -> String {
    format!("[package]\nname = '{name}'\nversion = '0.{version}.0'\nedition = '2024'\n{more}")
}

fn maker(value: u32) -> String {
    format!(
        "#[proc_macro]
pub fn make(_: proc_macro::TokenStream) -> proc_macro::TokenStream {{ \"\\\"made {value}\\\"\".parse().unwrap() }}
"
    )
}

fn build_script(script: &Script, helper: Option<&str>) -> String {
    let helper = helper.map(|helper| {
        format!("println!(\"cargo::rustc-env=HELPER_VALUE=helper {{}}\", {helper}::CONSTANT);\n    ")
    });
    let helper = helper.unwrap_or_default();
    let watched = if script.directory { "input" } else { "input/value.txt" };
    let own = script.text;
    let named: &[&str] = match script.naming {
        Naming::All => &["build.rs", watched],
        Naming::Nothing => &[],
        Naming::Missing => &["build.rs", "never/there"],
    };
    let named: String =
        named.iter().map(|path| format!("println!(\"cargo::rerun-if-changed={path}\");\n    ")).collect();
    format!(
        "fn main() {{
    {named}{helper}let input = std::fs::read_to_string(\"input/value.txt\").unwrap();
    println!(\"cargo::rustc-env=SCRIPT_VALUE=set {own} {{input}}\");
    let path = std::path::Path::new(&std::env::var(\"OUT_DIR\").unwrap()).join(\"generated.rs\");
    std::fs::write(path, format!(\"const GENERATED: &str = \\\"generated {own} {{input}}\\\";\")).unwrap();
}}
"
    )
}

fn main_function(response: &str) -> String {
    format!(
        "fn main() {{
    use std::io::Write;
    let mut out = std::io::stdout();
    out.write_all({response}.as_bytes()).unwrap();
    out.flush().unwrap();
}}
"
    )
}

const PLUGIN_MAIN: &str = r#"devhost_plugin::export!();
#[unsafe(no_mangle)]
pub extern "C" fn equivalence_main() -> i32 {
    use std::io::Write;
    let mut out = std::io::stdout();
    out.write_all(response().as_bytes()).unwrap();
    out.flush().unwrap();
    0
}
"#;

/// The part of `devhost-plugin` that the builder looks at.
const PLUGIN: &str = r#"#[macro_export]
macro_rules! export { () => {
    #[cfg(devhost)]
    extern crate devhost_deps as _;
    #[unsafe(no_mangle)]
    pub extern "C" fn devhost_plugin_descriptor() -> *const u8 { std::ptr::null() }
} }
"#;
