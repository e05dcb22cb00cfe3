//! A parsed document: strict JSON (RFC 8259) whose every value knows where it stands.

use std::collections::HashMap;
use std::path::Path as FilePath;

use jsonc_parser::ast::{Object, Value as Ast};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use serde_json::{Map, Number, Value};

use super::lines::Lines;
use super::{InvalidDocument, Mistake, Mistakes, Path, Place, Step, read};

/// Longest text of a value that a message repeats, characters.
const SHOWN: usize = 40;

#[derive(Debug, Clone)]
pub struct Node {
    /// Byte offsets in the text.
    pub start: usize,
    pub end: usize,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Node>),
    /// Without its comments; the first of members with equal names.
    Object(Vec<Member>),
}

#[derive(Debug, Clone)]
pub struct Member {
    pub name: String,
    /// Byte offset of the name.
    pub start: usize,
    pub value: Node,
}

/// Keys that start with `_` or `$` are comments, at every level.
pub fn is_comment(key: &str) -> bool {
    key.starts_with(['_', '$'])
}

impl Node {
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.members().iter().find(|m| m.name == name).map(|m| &m.value)
    }

    /// The members of an object; none for anything else.
    pub fn members(&self) -> &[Member] {
        match &self.kind {
            Kind::Object(members) => members,
            _ => &[],
        }
    }

    /// The elements of an array; none for anything else.
    pub fn elements(&self) -> &[Node] {
        match &self.kind {
            Kind::Array(elements) => elements,
            _ => &[],
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::String(text) => Some(text),
            _ => None,
        }
    }

    /// The same value without places.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::String(text) => Value::String(text.clone()),
            Kind::Array(elements) => Value::Array(elements.iter().map(Node::to_value).collect()),
            Kind::Object(members) => Value::Object(
                members.iter().map(|m| (m.name.clone(), m.value.to_value())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// The deepest value on the way that a JSON pointer's segments describe, and its path; `path` is this
    /// node's own.
    pub fn locate<'n>(&'n self, path: &Path, segments: impl Iterator<Item = String>) -> (Path, &'n Node) {
        let mut path = path.clone();
        let mut node = self;
        for segment in segments {
            let next = match &node.kind {
                Kind::Array(elements) => segment
                    .parse()
                    .ok()
                    .and_then(|i: usize| elements.get(i).map(|element| (Step::Index(i), element))),
                _ => node.get(&segment).map(|value| (Step::Key(segment), value)),
            };
            let Some((step, value)) = next else { break };
            path.push(step);
            node = value;
        }
        (path, node)
    }

    /// The value as a message shows it.
    pub fn shortened(&self) -> String {
        match &self.kind {
            Kind::Array(elements) if elements.is_empty() => "an empty list".to_owned(),
            Kind::Array(elements) => format!("a list of {}", elements.len()),
            Kind::Object(members) if members.is_empty() => "an empty object".to_owned(),
            Kind::Object(_) => "an object".to_owned(),
            _ => shorten(&self.to_value().to_string()),
        }
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// A file's text and tree.
#[derive(Debug)]
pub struct Document {
    file: String,
    text: String,
    lines: Lines,
    root: Node,
    /// Mistakes that were found on the way and leave a tree to be checked, by offset.
    slips: Vec<(usize, Mistake)>,
}

impl Document {
    /// Reads and parses a file. After a syntax error only that one mistake can be named. Keys that stand twice
    /// and numbers out of range are among the [`Mistakes`] of the document from the start.
    pub fn read(path: &FilePath) -> Result<Document, InvalidDocument> {
        let file = path.display().to_string();
        let text = read::read(path, &file)?;
        Document::build(file, text)
    }

    /// Parses text; `file` is what messages call it.
    pub fn parse(file: &str, text: &str) -> Result<Document, InvalidDocument> {
        read::check_text(text, file)?;
        Document::build(file.to_owned(), text.to_owned())
    }

    fn build(file: String, text: String) -> Result<Document, InvalidDocument> {
        let lines = Lines::of(&text);
        let mut slips = Slips::default();
        let root = parse(&file, &text, &mut slips)?;
        let mut document = Document { file, text, lines, root, slips: Vec::new() };
        document.slips = slips.into_mistakes(&document);
        Ok(document)
    }

    pub fn file(&self) -> &str {
        &self.file
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn slips(&self) -> &[(usize, Mistake)] {
        &self.slips
    }

    pub fn root(&self) -> &Node {
        &self.root
    }

    /// Line and column (in characters), both from 1, of a byte offset.
    pub fn line_and_column(&self, offset: usize) -> (usize, usize) {
        self.lines.line_and_column(&self.text, offset)
    }
}

/// Mistakes that are found while the tree is built.
#[derive(Default)]
struct Slips {
    /// Path of the object, name, offset of the second and of the first.
    twice: Vec<(Path, String, usize, usize)>,
    numbers: Vec<(Path, String, usize)>,
}

impl Slips {
    fn into_mistakes(self, document: &Document) -> Vec<(usize, Mistake)> {
        let mut mistakes = Mistakes::new(document);
        for (path, name, offset, first) in self.twice {
            let (line, _) = document.line_and_column(first);
            let place = Place { path: path.key(&name), offset, found: Some(format!("`{name}`")) };
            let message = format!("the key `{name}` stands here a second time, first in line {line}");
            mistakes.add(place, "each key once", None, message);
        }
        for (path, text, offset) in self.numbers {
            let place = Place { path, offset, found: Some(shorten(&text)) };
            mistakes.wrong_value(place, "a number that fits into 64 bits", None);
        }
        mistakes.into_found()
    }
}

fn parse(file: &str, text: &str, slips: &mut Slips) -> Result<Node, InvalidDocument> {
    let strict = ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let parsed = parse_to_ast(text, &CollectOptions::default(), &strict).map_err(|error| {
        let (line, column) = read::line_and_column(text, error.range().start);
        let message = format!("not JSON: {}", sentence(&error.kind().to_string()));
        InvalidDocument::whole(file, "JSON", message).at(line, column)
    })?;
    // The parser above lets control characters in strings pass; this one does not.
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        let reason = error.to_string();
        let reason = reason.split(" at line ").next().unwrap_or_default();
        let message = format!("not JSON: {}", sentence(reason));
        return Err(InvalidDocument::whole(file, "JSON", message).at(error.line(), error.column().max(1)));
    }
    let ast = parsed
        .value
        .ok_or_else(|| InvalidDocument::whole(file, "a JSON object", "the file is empty".to_owned()))?;
    Ok(node(&ast, &Path::root(), slips))
}

/// The parser's words with a small first letter and a hint where people come from JSON with comments.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_ascii_lowercase()).into_iter();
    let text: String = first.chain(characters).collect();
    if text.contains("omments are not allowed") {
        return format!("{text}; write a key that starts with `_`");
    }
    text
}

fn node(ast: &Ast<'_>, path: &Path, slips: &mut Slips) -> Node {
    let kind = match ast {
        Ast::NullKeyword(_) => Kind::Null,
        Ast::BooleanLit(lit) => Kind::Bool(lit.value),
        Ast::StringLit(lit) => Kind::String(lit.value.clone().into_owned()),
        Ast::NumberLit(lit) => Kind::Number(number(lit.value).unwrap_or_else(|| {
            slips.numbers.push((path.clone(), lit.value.to_owned(), lit.range.start));
            Number::from(0)
        })),
        Ast::Array(array) => Kind::Array(
            array.elements.iter().enumerate().map(|(i, e)| node(e, &path.index(i), slips)).collect(),
        ),
        Ast::Object(object) => Kind::Object(members(object, path, slips)),
    };
    let range = ast.range();
    Node { start: range.start, end: range.end, kind }
}

fn members(object: &Object<'_>, path: &Path, slips: &mut Slips) -> Vec<Member> {
    let mut firsts: HashMap<&str, usize> = HashMap::with_capacity(object.properties.len());
    let mut members = Vec::with_capacity(object.properties.len());
    for property in &object.properties {
        let name = property.name.as_str();
        if is_comment(name) {
            continue;
        }
        let start = property.range.start;
        if let Some(first) = firsts.get(name) {
            slips.twice.push((path.clone(), name.to_owned(), start, *first));
            continue;
        }
        firsts.insert(name, start);
        let value = node(&property.value, &path.key(name), slips);
        members.push(Member { name: name.to_owned(), start, value });
    }
    members
}

/// A JSON number. Whole numbers written as `2.0` count as integers, as JSON Schema has it.
fn number(text: &str) -> Option<Number> {
    let number: Number = serde_json::from_str(text).ok()?;
    let whole = number.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15);
    match whole {
        Some(float) if number.is_f64() => Some(Number::from(float as i64)),
        _ => Some(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> String {
        let document = Document::parse("c.json", text).unwrap();
        Mistakes::new(&document).finish().unwrap_err().to_string()
    }

    #[test]
    fn only_strict_json_is_taken() {
        for bad in [
            "{\"a\": 1,}",
            "{'a': 1}",
            "{a: 1}",
            "[1 2]",
            "{\"a\": 0x1}",
            "[+1]",
            "[.5]",
            "[NaN]",
            "{} {}",
            "// c\n{}",
            "[01]",
            "[1.]",
            "[\"\\x41\"]",
            "[\"a\nb\"]",
            "[tru]",
            "[\"\\ud800\"]",
            "[-]",
            "[1e]",
        ] {
            assert!(Document::parse("c.json", bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["[1e3, -0.5, \"\\u00e9\\n\"]", "\t{\"a\": {}}\r\n", "[]", "null"] {
            let document = Document::parse("c.json", good).unwrap();
            let value: Value = serde_json::from_str(good).unwrap();
            let expected =
                if good.starts_with("[1e3") { serde_json::json!([1000, -0.5, "é\n"]) } else { value };
            assert_eq!(document.root().to_value(), expected);
        }
    }

    #[test]
    fn keys_that_stand_twice_are_all_named_and_comments_may_repeat() {
        assert_eq!(
            errors("{\"a\": 1,\n \"_c\": 1, \"_c\": 2,\n \"a\": 2, \"b\": [{\"x\": 1, \"x\": 1e999}]}"),
            "c.json:3:2: $.a: the key `a` stands here a second time, first in line 1\n\
             c.json:3:25: $.b[0].x: the key `x` stands here a second time, first in line 3"
        );
    }

    #[test]
    fn numbers_out_of_range_are_a_mistake_and_whole_ones_are_integers() {
        assert_eq!(
            errors("[1e999]"),
            "c.json:1:2: $[0]: found 1e999, expected a number that fits into 64 bits"
        );
        assert_eq!(Document::parse("c", "[2.0]").unwrap().root().to_value().to_string(), "[2]");
    }

    #[test]
    fn columns_count_characters() {
        let document = Document::parse("c", "{\n\"é\": 1, \"b\": 2}").unwrap();
        assert_eq!(document.line_and_column(document.root().members()[1].start), (2, 9));
    }
}
