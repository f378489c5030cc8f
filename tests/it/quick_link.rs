//! The quick link of a replayed app: the same library as the ordinary link's, and out of the way wherever
//! anything is unusual.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use devhost_build::{Artifact, Builder, Settings};
use object::Endianness;
use object::read::elf::{ElfFile64, Sym as _};

use crate::build::{Workspace, build_error, built, load};
use crate::support::write_file;

/// How many modules the app has, each with objects of its own: enough for some to be merged.
const MODULES_COUNT: usize = 12;

/// The linker's part in a build.
#[derive(Debug, PartialEq)]
enum Link {
    Quick,
    Ordinary,
    /// devhost was not asked to link.
    Others,
}

struct Site {
    workspace: Workspace,
    builder: Builder,
}

impl Site {
    fn new() -> Self {
        Self::with(Workspace::new())
    }

    fn with(workspace: Workspace) -> Self {
        for number in 0..MODULES_COUNT {
            write_module(&workspace, number, "0");
        }
        let calls: String = (0..MODULES_COUNT).map(|number| format!(" + part{number}::value()")).collect();
        let modules: String = (0..MODULES_COUNT).map(|number| format!("mod part{number};\n")).collect();
        let text = format!(
            "{modules}devhost_plugin::export!();
            pub static COUNT: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(0);
            #[unsafe(no_mangle)] pub extern \"C\" fn sum() -> i32 {{ native::call::<i32>() {calls} }}
            #[unsafe(no_mangle)] pub extern \"C\" fn count() -> i32 {{ COUNT.load(std::sync::atomic::Ordering::Relaxed) }}
            "
        );
        workspace.write("app/src/lib.rs", &text);
        let builder = workspace.builder_with(Settings::default());
        Self { workspace, builder }
    }

    fn edit(&mut self, number: usize, value: &str) -> (Artifact, Link) {
        let edited = write_module(&self.workspace, number, value);
        self.build(&edited)
    }

    fn build(&mut self, edited: &Path) -> (Artifact, Link) {
        for last in self.notes() {
            std::fs::remove_file(last).unwrap();
        }
        let artifact = built(&mut self.builder, &[edited.to_owned()]);
        let link = match &self.notes()[..] {
            [] => Link::Others,
            [last] if std::fs::read_to_string(last).unwrap().contains("\"Ordinarily\"") => Link::Ordinary,
            _ => Link::Quick,
        };
        (artifact, link)
    }

    /// Where devhost has noted the last link.
    fn notes(&self) -> Vec<PathBuf> {
        let places = std::fs::read_dir(self.workspace.path("target/devhost/link")).into_iter().flatten();
        places.map(|place| place.unwrap().path().join("last.json")).filter(|path| path.is_file()).collect()
    }

    fn prepare(&mut self) {
        self.builder.wait_for_link_ahead();
    }

    /// Builds until the next link is quick.
    fn warmed_up() -> Self {
        let mut site = Self::new();
        built(&mut site.builder, &[]);
        assert_eq!(site.edit(0, "1").1, Link::Ordinary, "nothing was prepared");
        site.prepare();
        site
    }
}

fn write_module(workspace: &Workspace, number: usize, value: &str) -> PathBuf {
    let text = format!(
        "#[inline(never)] pub fn value() -> i32 {{ std::hint::black_box({value}) }}
        #[derive(Debug)] pub struct Kept(pub i32);
        #[inline(never)] pub fn text() -> String {{ format!(\"{{:?}}\", Kept(value())) }}
        #[used] static TEXT: fn() -> String = text;
        "
    );
    workspace.write(&format!("app/src/part{number}.rs"), &text)
}

fn sum(artifact: &Artifact) -> i32 {
    load(artifact).call::<i32>("sum") - 23
}

/// Names, type and binding, visibility, and whether the library defines them.
type Symbols = BTreeSet<(String, u8, u8, bool)>;

/// What a library needs, and its dynamic symbols.
fn outside(artifact: &Artifact) -> (Vec<String>, Symbols) {
    let bytes = std::fs::read(&artifact.path).unwrap();
    let file = ElfFile64::<Endianness>::parse(&*bytes).unwrap();
    let endian = file.endian();
    let dynamic = file.elf_dynamic_table().unwrap();
    let needed = dynamic.iter().filter(|entry| entry.tag == object::elf::DT_NEEDED);
    let needed = needed.map(|entry| String::from_utf8_lossy(dynamic.string(entry).unwrap()).into_owned());
    let table = file.elf_dynamic_symbol_table();
    let symbols = table.iter().map(|symbol| {
        let name = String::from_utf8_lossy(symbol.name(endian, table.strings()).unwrap()).into_owned();
        let is_defined = symbol.st_shndx(endian) != object::elf::SHN_UNDEF;
        (name, symbol.st_info().0, symbol.st_other().0, is_defined)
    });
    (needed.collect(), symbols.collect())
}

#[test]
fn a_quick_link_makes_the_same_library_of_the_newest_code() {
    let mut site = Site::new();
    built(&mut site.builder, &[]);
    let (ordinary, link) = site.edit(0, "1");
    assert_eq!((sum(&ordinary), link), (1, Link::Ordinary));
    site.prepare();
    // The first to change: it was merged. The second time it is by itself.
    for (value, expected) in [("2", 2), ("3", 3)] {
        let (quick, link) = site.edit(5, value);
        assert_eq!((sum(&quick), link), (expected + 1, Link::Quick));
        assert_eq!(outside(&quick), outside(&ordinary));
        site.prepare();
    }
    let (quick, link) = site.edit(0, "10");
    assert_eq!((sum(&quick), link), (13, Link::Quick));
    // What was prepared is of use as long as it fits.
    assert_eq!(sum(&site.edit(1, "100").0), 113);
}

#[test]
fn a_unit_that_only_registers_something_is_in_the_next_library() {
    let mut site = Site::warmed_up();
    let text = std::fs::read_to_string(site.workspace.path("app/src/part3.rs")).unwrap();
    let registration = "mod more {
            extern \"C\" fn register() { crate::COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed); }
            #[used] #[unsafe(link_section = \".init_array\")] static REGISTER: extern \"C\" fn() = register;
        }";
    for (more, count) in [(registration, 1), ("", 0), (registration, 1)] {
        let edited = site.workspace.write("app/src/part3.rs", &format!("{text}{more}\n"));
        let (artifact, link) = site.build(&edited);
        assert_eq!((load(&artifact).call::<i32>("count"), link), (count, Link::Quick));
        site.prepare();
    }
}

#[test]
fn a_symbol_that_was_not_used_before_is_found() {
    let mut site = Site::warmed_up();
    let (artifact, link) = site.edit(4, "native::call::<u8>() - 20 + std::env::args_os().count() as i32 * 0");
    assert_eq!((sum(&artifact), link), (4, Link::Ordinary), "no stub has it");
    site.prepare();
    assert_eq!(site.edit(4, "native::call::<u8>() - 21").1, Link::Quick);
}

#[test]
fn a_link_error_is_shown_in_the_words_of_the_ordinary_link() {
    let mut site = Site::warmed_up();
    let with_label = |site: &Site, number| {
        let path = write_module(&site.workspace, number, "0");
        let text = std::fs::read_to_string(&path).unwrap();
        write_file(path, &format!("{text}std::arch::global_asm!(\".globl twice\", \"twice:\");\n"))
    };
    let edited = with_label(&site, 6);
    site.build(&edited);
    site.prepare();
    let edited = with_label(&site, 7);
    let (diagnostics, output) = build_error(&mut site.builder, &[edited]);
    let said = format!("{diagnostics:?}{output}");
    assert!(said.contains("linking with `cc` failed"), "{said}");
    assert!(said.contains("twice") && !said.contains("devhost-linker"), "{said}");
    assert_eq!(sum(&site.edit(7, "5").0), 6);
}

#[test]
fn a_function_that_is_newly_exported_can_be_called() {
    let mut site = Site::warmed_up();
    let text = std::fs::read_to_string(site.workspace.path("app/src/part2.rs")).unwrap();
    let more = "#[unsafe(no_mangle)] pub extern \"C\" fn more() -> i32 { 17 }\n";
    for (more, is_there) in [(more, true), ("", false), (more, true)] {
        let edited = site.workspace.write("app/src/part2.rs", &format!("{text}{more}"));
        let (artifact, link) = site.build(&edited);
        let symbols = outside(&artifact).1;
        assert_eq!((symbols.iter().any(|symbol| symbol.0 == "more"), link), (is_there, Link::Quick));
        site.prepare();
    }
}

#[test]
fn the_users_own_linker_wins() {
    let workspace = Workspace::new();
    let called = workspace.path("called");
    let script =
        workspace.write("linker.sh", &format!("#!/bin/sh\necho >>'{}'\nexec cc \"$@\"\n", called.display()));
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let text = std::fs::read_to_string(workspace.path(".cargo/config.toml")).unwrap();
    let own = format!("{text}[target.'cfg(all())']\nlinker = '{}'\n", script.display());
    workspace.write(".cargo/config.toml", &own);
    let mut site = Site::with(workspace);
    built(&mut site.builder, &[]);
    for value in 1..4 {
        let before = std::fs::metadata(&called).unwrap().len();
        let (artifact, link) = site.edit(0, &value.to_string());
        assert!(site.builder.last_report().replayed);
        assert_eq!((sum(&artifact), link), (value, Link::Others));
        assert!(std::fs::metadata(&called).unwrap().len() > before, "it was not called");
        site.prepare();
    }
}
