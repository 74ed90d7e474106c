//! A crate's source as modules with names, read by `syn`: which file defines what a path means, and what each file uses
//! of which other. What only tests have (`#[cfg(test)]`) is left out. Macros that aren't expanded are read token by
//! token; names inside of strings and attributes are not seen, nor are methods that a value brings along.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use syn::buffer::{Cursor, TokenBuffer};
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, Macro, Meta, TraitItem, UseTree, Visibility};

/// A crate's files by their paths, relative to wherever the caller likes.
pub(crate) type Sources = BTreeMap<String, String>;

/// Which file uses which other, and the names that it takes from there.
pub(crate) type Uses = BTreeMap<(String, String), BTreeSet<String>>;

/// What a name means: a module, or an item with the file that defines it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Meaning {
    Module(usize),
    Item(String),
}

/// A `use`: under which name, of which path, and whether it hands the name on.
struct Import {
    name: String,
    path: Vec<String>,
    handed_on: bool,
}

struct Module {
    file: String,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    items: Vec<Item>,
    defined: BTreeSet<String>,
    imports: Vec<Import>,
    /// The paths before a `::*`.
    globs: Vec<Vec<String>>,
}

/// One target of a crate: its modules, the root first.
pub(crate) struct Modules {
    modules: Vec<Module>,
    /// What is being looked up, so that imports that lead to themselves end.
    open: RefCell<BTreeSet<(usize, String)>>,
}

impl Modules {
    /// Reads the target whose root file is `root` (a `lib.rs`, a `main.rs`, or a file in `bin`).
    pub(crate) fn read(sources: &Sources, root: &str) -> Self {
        let mut modules = Self { modules: Vec::new(), open: RefCell::default() };
        modules.add_file(sources, root, None);
        modules
    }

    /// All items of each file that ship, those of modules inside of a file among them.
    pub(crate) fn items(&self) -> impl Iterator<Item = (&str, &Item)> {
        self.modules.iter().flat_map(|module| module.items.iter().map(|item| (module.file.as_str(), item)))
    }

    /// What each file takes from others.
    pub(crate) fn uses(&self) -> Uses {
        let mut uses = Uses::new();
        for (id, module) in self.modules.iter().enumerate() {
            let mut reader = Reader { modules: self, module: id, found: BTreeSet::new() };
            module.items.iter().for_each(|item| reader.visit_item(item));
            let used = reader.found.into_iter().chain(self.imported(id));
            for (file, name) in used.filter(|(file, _)| *file != module.file) {
                uses.entry((module.file.clone(), file)).or_default().insert(name);
            }
        }
        uses
    }

    fn add_file(&mut self, sources: &Sources, file: &str, parent: Option<usize>) -> usize {
        let text = sources.get(file).unwrap_or_else(|| panic!("{file} isn't there"));
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
        let is_face = parent.is_none() || name == "mod.rs";
        let below =
            if is_face { folder.to_owned() } else { format!("{folder}/{}", name.trim_end_matches(".rs")) };
        self.add(sources, parsed.items, file, &below, parent)
    }

    /// Adds a module with these items; the files of its modules stand in `below`.
    fn add(
        &mut self,
        sources: &Sources,
        items: Vec<Item>,
        file: &str,
        below: &str,
        parent: Option<usize>,
    ) -> usize {
        let id = self.modules.len();
        self.modules.push(Module {
            file: file.to_owned(),
            parent,
            children: BTreeMap::new(),
            items: Vec::new(),
            defined: BTreeSet::new(),
            imports: Vec::new(),
            globs: Vec::new(),
        });
        let mut kept = Vec::new();
        for item in items.into_iter().filter(|item| !only_in_tests(attributes(item))) {
            let Item::Mod(module) = item else {
                kept.push(item);
                continue;
            };
            let name = module.ident.to_string();
            let child = match module.content {
                Some((_, items)) => self.add(sources, items, file, &format!("{below}/{name}"), Some(id)),
                None => {
                    let beside = format!("{below}/{name}.rs");
                    let inside = format!("{below}/{name}/mod.rs");
                    let found = if sources.contains_key(&beside) { beside } else { inside };
                    self.add_file(sources, &found, Some(id))
                }
            };
            self.modules[id].children.insert(name, child);
        }
        let mut names = Names::default();
        kept.iter().for_each(|item| names.visit_item(item));
        let module = &mut self.modules[id];
        module.defined = kept.iter().filter_map(defines).collect();
        (module.imports, module.globs) = (names.imports, names.globs);
        module.items = kept;
        id
    }

    /// What the module's own `use` lines take from elsewhere. Handing on what stands further down is no use of it.
    fn imported(&self, id: usize) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for import in &self.modules[id].imports {
            let (meanings, name) = self.resolve(id, &import.path);
            if meanings.iter().any(|meaning| matches!(meaning, Meaning::Module(_))) {
                continue;
            }
            for meaning in meanings {
                let Meaning::Item(file) = meaning else { continue };
                if !(import.handed_on && self.is_below(&file, id)) {
                    found.push((file, name.clone()));
                }
            }
        }
        found
    }

    /// Whether a file belongs to a module further down than this one.
    fn is_below(&self, file: &str, id: usize) -> bool {
        let above = |mut at: usize| {
            while let Some(parent) = self.modules[at].parent {
                if parent == id {
                    return true;
                }
                at = parent;
            }
            false
        };
        (0..self.modules.len()).any(|at| self.modules[at].file == file && above(at))
    }

    /// What a path means in a module, and the name in it that decided. Nothing if it leads out of the crate.
    fn resolve(&self, from: usize, path: &[String]) -> (BTreeSet<Meaning>, String) {
        let nothing = (BTreeSet::new(), String::new());
        let mut rest = path;
        let mut at = Some(from);
        let mut is_scope = true;
        while let Some((first, others)) = rest.split_first() {
            match first.as_str() {
                "crate" => at = Some(0),
                "self" => {}
                "super" => at = at.and_then(|at| self.modules[at].parent),
                _ => break,
            }
            is_scope = false;
            rest = others;
        }
        let Some(mut at) = at else { return nothing };
        if rest.is_empty() && !is_scope {
            return (BTreeSet::from([Meaning::Module(at)]), String::new());
        }
        for (index, name) in rest.iter().enumerate() {
            let meanings = self.lookup(at, name);
            if index + 1 == rest.len() {
                return (meanings, name.clone());
            }
            let module = meanings.iter().find_map(|meaning| match meaning {
                Meaning::Module(module) => Some(*module),
                Meaning::Item(_) => None,
            });
            match module {
                Some(module) => at = module,
                None => return (meanings, name.clone()),
            }
        }
        nothing
    }

    /// What a name means in a module: what stands there, and what its `use` lines bring.
    fn lookup(&self, at: usize, name: &str) -> BTreeSet<Meaning> {
        let asked = (at, name.to_owned());
        if !self.open.borrow_mut().insert(asked.clone()) {
            return BTreeSet::new();
        }
        let module = &self.modules[at];
        let mut found = BTreeSet::new();
        if let Some(child) = module.children.get(name) {
            found.insert(Meaning::Module(*child));
        }
        if module.defined.contains(name) {
            found.insert(Meaning::Item(module.file.clone()));
        }
        for import in module.imports.iter().filter(|import| import.name == name) {
            found.extend(self.resolve(at, &import.path).0);
        }
        if found.is_empty() {
            for glob in &module.globs {
                for meaning in self.resolve(at, glob).0 {
                    if let Meaning::Module(module) = meaning {
                        found.extend(self.lookup(module, name));
                    }
                }
            }
        }
        self.open.borrow_mut().remove(&asked);
        found
    }
}

/// Collects the `use` lines of a module, those inside of its functions among them.
#[derive(Default)]
struct Names {
    imports: Vec<Import>,
    globs: Vec<Vec<String>>,
}

impl Names {
    fn add(&mut self, tree: &UseTree, before: &[String], handed_on: bool) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.add(&path.tree, &with(&path.ident), handed_on),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add(tree, before, handed_on)),
            UseTree::Glob(_) => self.globs.push(before.to_vec()),
            UseTree::Name(name) if name.ident == "self" => {
                let name = before.last().cloned().unwrap_or_default();
                self.imports.push(Import { name, path: before.to_vec(), handed_on });
            }
            UseTree::Name(name) => {
                let path = with(&name.ident);
                self.imports.push(Import { name: name.ident.to_string(), path, handed_on });
            }
            UseTree::Rename(rename) => {
                let path = if rename.ident == "self" { before.to_vec() } else { with(&rename.ident) };
                self.imports.push(Import { name: rename.rename.to_string(), path, handed_on });
            }
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if item.leading_colon.is_none() {
            self.add(&item.tree, &[], !matches!(item.vis, Visibility::Inherited));
        }
    }
}

/// Collects what the code of one module takes from other files.
struct Reader<'a> {
    modules: &'a Modules,
    module: usize,
    found: BTreeSet<(String, String)>,
}

impl Reader<'_> {
    fn add(&mut self, path: &[String]) {
        let (meanings, name) = self.modules.resolve(self.module, path);
        for meaning in meanings {
            if let Meaning::Item(file) = meaning {
                self.found.insert((file, name.clone()));
            }
        }
    }

    /// Finds the paths in the arguments of a macro: names with `::` between them, and no field or method.
    fn read_tokens(&mut self, mut cursor: Cursor) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        let mut is_member = false;
        while !cursor.eof() {
            if let Some((name, next)) = cursor.ident() {
                if colons != 2 {
                    self.end_of(&mut path);
                }
                if !is_member {
                    path.push(name.to_string());
                }
                (colons, is_member, cursor) = (0, false, next);
            } else if let Some((punctuation, next)) = cursor.punct() {
                let is_colon = punctuation.as_char() == ':' && !path.is_empty();
                if !is_colon {
                    self.end_of(&mut path);
                }
                colons = if is_colon { colons + 1 } else { 0 };
                is_member = punctuation.as_char() == '.' && cursor.lifetime().is_none();
                cursor = next;
            } else {
                self.end_of(&mut path);
                (colons, is_member) = (0, false);
                if let Some((inner, _, _, next)) = cursor.any_group() {
                    self.read_tokens(inner);
                    cursor = next;
                } else if let Some((_, next)) = cursor.lifetime() {
                    cursor = next;
                } else if let Some((_, next)) = cursor.token_tree() {
                    cursor = next;
                } else {
                    break;
                }
            }
        }
        self.end_of(&mut path);
    }

    fn end_of(&mut self, path: &mut Vec<String>) {
        if !path.is_empty() {
            self.add(&std::mem::take(path));
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !only_in_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes: &[Attribute] = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            ImplItem::Macro(item) => &item.attrs,
            _ => &[],
        };
        if !only_in_tests(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        if !matches!(item, TraitItem::Fn(item) if only_in_tests(&item.attrs)) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.add(&names);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        self.visit_path(&called.path);
        let tokens = TokenBuffer::new2(called.tokens.clone());
        self.read_tokens(tokens.begin());
    }

    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_item_use(&mut self, _: &'ast syn::ItemUse) {}
}

/// The name under which an item is found in its module.
fn defines(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether these say `#[cfg(test)]`, alone or with further conditions.
fn only_in_tests(attributes: &[Attribute]) -> bool {
    fn needs_test(condition: &Meta) -> bool {
        match condition {
            Meta::Path(path) => path.is_ident("test"),
            Meta::List(list) if list.path.is_ident("all") => list
                .parse_args_with(syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated)
                .is_ok_and(|conditions| conditions.iter().any(needs_test)),
            _ => false,
        }
    }
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .any(|attribute| attribute.parse_args::<Meta>().is_ok_and(|condition| needs_test(&condition)))
}
