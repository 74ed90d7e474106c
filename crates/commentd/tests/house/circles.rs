//! No files of a crate use each other in a circle: each can be read with nothing but what stands below it.

use super::modules::{Modules, Sources, Uses};
use super::{files, root};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

/// Folders in which there still is a circle. The list only shrinks: an entry without a circle fails the test.
const NOT_YET: &[&str] = &["testing/fuzz", "testing/simulation"];

#[test]
fn no_files_use_each_other_in_a_circle() {
    let circles: Vec<Circle> =
        packages().iter().flat_map(|package| circles(&package_uses(package))).collect();
    let is_in = |circle: &Circle, folder: &str| {
        circle.files.iter().all(|file| file.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
    };
    let unexpected: String = circles
        .iter()
        .filter(|circle| !NOT_YET.iter().any(|folder| is_in(circle, folder)))
        .map(Circle::describe)
        .collect();
    assert!(unexpected.is_empty(), "\n{unexpected}");
    let free: Vec<&&str> =
        NOT_YET.iter().filter(|folder| !circles.iter().any(|circle| is_in(circle, folder))).collect();
    assert!(free.is_empty(), "no circle any more, take these off NOT_YET: {free:?}");
}

/// Every crate's sources, by paths from the root of the repository.
pub(crate) fn packages() -> Vec<Sources> {
    let mut packages = Vec::new();
    for folder in ["crates", "testing"] {
        for package in std::fs::read_dir(root().join(folder)).unwrap() {
            let mut found = Vec::new();
            let source = package.unwrap().path().join("src");
            if source.is_dir() {
                files(&source, &mut found);
            }
            let relative =
                |path: &Path| path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
            let rust =
                found.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
            let sources: Sources =
                rust.map(|path| (relative(path), std::fs::read_to_string(path).unwrap())).collect();
            packages.push(sources);
        }
    }
    assert!(packages.len() > 10);
    packages
}

/// The targets of a crate: its library, its program, further programs.
pub(crate) fn targets(package: &Sources) -> Vec<Modules> {
    let is_root = |path: &str| {
        path.ends_with("/src/lib.rs")
            || path.ends_with("/src/main.rs")
            || path.rsplit_once('/').is_some_and(|(folder, _)| folder.ends_with("/src/bin"))
    };
    package.keys().filter(|path| is_root(path)).map(|path| Modules::read(package, path)).collect()
}

fn package_uses(package: &Sources) -> Uses {
    targets(package).iter().flat_map(Modules::uses).collect()
}

struct Circle {
    files: BTreeSet<String>,
    uses: Uses,
}

impl Circle {
    fn describe(&self) -> String {
        let mut text = format!("{} files use each other in a circle:\n", self.files.len());
        for ((from, to), names) in &self.uses {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let _ = writeln!(text, "  {from} -> {to}: {}", names.join(", "));
        }
        text
    }
}

/// The files that can be reached from each other, as they use each other.
fn circles(uses: &Uses) -> Vec<Circle> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in uses.keys() {
        next.entry(from).or_default().push(to);
    }
    let reachable = |from| {
        let mut found = BTreeSet::new();
        let mut open = vec![from];
        while let Some(file) = open.pop() {
            for to in next.get(file).into_iter().flatten() {
                if found.insert(*to) {
                    open.push(to);
                }
            }
        }
        found
    };
    let reach: BTreeMap<&str, BTreeSet<&str>> = next.keys().map(|file| (*file, reachable(file))).collect();
    let together: BTreeSet<BTreeSet<&str>> = reach
        .iter()
        .filter(|(file, reached)| reached.contains(*file))
        .map(|(file, reached)| {
            reached
                .iter()
                .filter(|other| reach.get(*other).is_some_and(|back| back.contains(file)))
                .copied()
                .collect()
        })
        .collect();
    together
        .into_iter()
        .map(|files| Circle {
            uses: uses
                .iter()
                .filter(|((from, to), _)| files.contains(from.as_str()) && files.contains(to.as_str()))
                .map(|(ends, names)| (ends.clone(), names.clone()))
                .collect(),
            files: files.into_iter().map(str::to_owned).collect(),
        })
        .collect()
}

#[cfg(test)]
mod examples {
    use super::*;

    /// The circles of a crate with these files, each told by its files' names.
    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Sources =
            files.iter().map(|(name, text)| (format!("x/src/{name}"), (*text).to_owned())).collect();
        let named = |circle: Circle| {
            let names: Vec<&str> =
                circle.files.iter().map(|file| file.trim_start_matches("x/src/")).collect();
            names.join(" ")
        };
        circles(&package_uses(&sources)).into_iter().map(named).collect()
    }

    #[test]
    fn two_files() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B; pub struct A(B);"),
            ("b.rs", "pub struct B; impl B { fn f(&self) -> Option<super::a::A> { None } }"),
        ];
        assert_eq!(found(&files), ["a.rs b.rs"]);
    }

    #[test]
    fn three_files_by_names_that_are_handed_on() {
        let files = [
            ("lib.rs", "mod a; mod d;"),
            ("a.rs", "use crate::d::C; pub struct A(C);"),
            ("d/mod.rs", "mod b; mod c; pub use c::C;"),
            ("d/b.rs", "use crate::a; pub fn b() -> a::A { todo!() }"),
            ("d/c.rs", "use super::b::b as get; pub struct C; impl C { fn f() { get(); } }"),
        ];
        assert_eq!(found(&files), ["a.rs d/b.rs d/c.rs"]);
    }

    #[test]
    fn a_parent_that_is_more_than_a_face() {
        let files = [
            ("lib.rs", "mod d;"),
            ("d.rs", "mod b; pub struct D; pub fn f() { b::b(D) }"),
            ("d/b.rs", "use super::*; pub fn b(_: D) {}"),
        ];
        assert_eq!(found(&files), ["d.rs d/b.rs"]);
    }

    #[test]
    fn inside_of_a_macro_and_of_a_function() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub fn a() { println!(\"{}\", crate::b::b()); }"),
            ("b.rs", "pub fn b() -> u8 { use super::a::a; a(); 1 }"),
        ];
        assert_eq!(found(&files), ["a.rs b.rs"]);
    }

    #[test]
    fn none() {
        let files = [
            ("lib.rs", "mod a; mod b; pub use b::B;"),
            ("a.rs", "pub struct A; pub struct B;"),
            (
                "b.rs",
                "//! What `crate::b` is for.\nuse crate::a::A; pub struct B { a: A, text: &'static str }",
            ),
        ];
        assert!(found(&files).is_empty());
    }

    #[test]
    fn a_name_in_a_string_or_of_another_crate_is_no_use() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use b::C; use ::b::D; pub fn a() -> &'static str { \"crate::b::B\" }"),
            ("b.rs", "use crate::a::a; pub struct B(&'static str); impl B { fn f() { a(); } }"),
        ];
        assert!(found(&files).is_empty());
    }

    #[test]
    fn what_only_tests_use_does_not_count() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub struct A; #[cfg(test)] mod tests { use crate::b::B; fn f(_: B) {} }"),
            ("b.rs", "pub struct B(crate::a::A); #[cfg(test)] mod tests;"),
        ];
        assert!(found(&files).is_empty());
    }
}
