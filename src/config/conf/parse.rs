//! Tokens to a tree of values: nesting, variables, includes.
//!
//! Knows scopes and the place of each text; no setting's meaning. Files and the environment come
//! through [`Sources`]. The constants below bound the growth of a small text.
//! nats: conf/parse.go

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use bumpalo::Bump;

use super::lex::{Lexer, Spanned, SyntaxError, Token};
use super::value::{Entries, Map, Node, Place, TEXT_LEN_MAX, Text, Value};
use super::{Position, Problem, Severity, Sources};

/// Files that one configuration may read, repeated ones counted again. Ends include cycles.
const FILES_MAX: usize = 256;

/// Files and environment variables that may stand inside each other.
const DEPTH_MAX: usize = 16;

/// Values that references may copy: variables in variables would grow without end.
const COPIED_NODES_MAX: usize = 100_000;

/// The key under which the text of an environment variable is parsed.
const ENVIRONMENT_KEY: &str = "value";

/// Beginnings of a text that looks like a variable: a bcrypt hash without quotes, `$2a$11$...`.
const BCRYPT_PREFIXES: [&str; 4] = ["2a$", "2b$", "2x$", "2y$"];

/// Reads the text of a file.
///
/// # Errors
/// It cannot be read.
pub(super) fn read(file: &Path, sources: Sources<'_>) -> Result<String, Problem> {
    (sources.file)(file)
        .map_err(|error| without_position(format!("open {}: {error}", file.display())))
}

/// Parses the text of a file, and reads its includes, into a tree in `memory`.
///
/// # Errors
/// The first violation of the grammar, missing variable or missing file.
pub(super) fn parse<'t>(
    file: &Path,
    text: &'t str,
    sources: Sources<'_>,
    memory: &'t Bump,
) -> Result<Map<'t>, Problem> {
    let mut budget = Budget { files: 1, copied_nodes: 0, environment: Vec::new() };
    parse_file(file, text, sources, memory, &mut budget, 0)
}

/// Limits and sources shared by all texts of one configuration.
struct Budget {
    files: usize,
    copied_nodes: usize,
    /// Environment variables in progress, to find cycles.
    environment: Vec<String>,
}

/// Reads one text.
struct Parser<'a, 'b, 't> {
    sources: Sources<'a>,
    memory: &'t Bump,
    budget: &'b mut Budget,
    depth: usize,
    text: &'t Text<'t>,
    /// Base folder of includes.
    folder: PathBuf,
    /// The open maps and arrays, the root first, and room for others that open.
    scopes: Vec<Scope<'t>>,
    /// Never 0.
    open_count: usize,
}

/// A map or an array that is open.
struct Scope<'t> {
    is_array: bool,
    /// The place of its value if it is an element of an array.
    start: Place<'t>,
    /// Those of a map so far.
    entries: Entries<'t>,
    /// The key that waits for its value.
    pending: Option<(&'t str, Place<'t>)>,
    /// The elements of an array so far.
    nodes: Vec<Node<'t>>,
}

fn parse_file<'t>(
    file: &Path,
    text: &'t str,
    sources: Sources<'_>,
    memory: &'t Bump,
    budget: &mut Budget,
    depth: usize,
) -> Result<Map<'t>, Problem> {
    let text = Text::new(memory.alloc_str(&file.to_string_lossy()), text);
    let folder = file.parent().map(Path::to_owned).unwrap_or_default();
    Parser::new(sources, memory, budget, depth, text, folder).run()
}

fn without_position(text: String) -> Problem {
    Problem { severity: Severity::Error, position: None, text }
}

impl<'t> Scope<'t> {
    fn new(start: Place<'t>) -> Scope<'t> {
        let (entries, pending, nodes) = (Entries::default(), None, Vec::new());
        Scope { is_array: false, start, entries, pending, nodes }
    }
}

impl<'a, 'b, 't> Parser<'a, 'b, 't> {
    fn new(
        sources: Sources<'a>,
        memory: &'t Bump,
        budget: &'b mut Budget,
        depth: usize,
        text: Text<'t>,
        folder: PathBuf,
    ) -> Self {
        let text = memory.alloc(text);
        let (scopes, open_count) = (vec![Scope::new(Place::new(text, 0))], 1);
        Self { sources, memory, budget, depth, text, folder, scopes, open_count }
    }

    fn run(mut self) -> Result<Map<'t>, Problem> {
        let Text { name, text, .. } = self.text;
        if text.len() > TEXT_LEN_MAX {
            return Err(without_position(format!("{name}: longer than {TEXT_LEN_MAX} bytes")));
        }
        let mut lexer = Lexer::new(text);
        loop {
            let Spanned { token, at } =
                lexer.next_token().map_err(|error| self.syntax_error(error))?;
            if token == Token::End {
                break;
            }
            self.handle_token(token, Place::new(self.text, at))?;
        }
        Ok(self.scopes[0].entries.close(self.memory))
    }

    fn handle_token(&mut self, token: Token<'t>, place: Place<'t>) -> Result<(), Problem> {
        match token {
            Token::Key(key) => self.set_key(key, place),
            Token::Text(text) => {
                let text = match text {
                    Cow::Borrowed(text) => text,
                    Cow::Owned(text) => self.memory.alloc_str(&text),
                };
                self.set(Value::Text(text), place);
            }
            Token::Integer(value) => self.set(Value::Integer(value), place),
            Token::Float(value) => self.set(Value::Float(value), place),
            Token::Bool(value) => self.set(Value::Bool(value), place),
            Token::DateTime(text) => self.set(Value::DateTime(text), place),
            Token::MapStart => self.open(false, place),
            Token::ArrayStart => self.open(true, place),
            Token::MapEnd | Token::ArrayEnd => self.close(),
            Token::Variable(name) => {
                let value = self.variable(name, place)?;
                self.set(value, place);
            }
            Token::Include(file) => self.include(file, place)?,
            Token::End => {}
        }
        Ok(())
    }

    fn innermost(&mut self) -> &mut Scope<'t> {
        &mut self.scopes[self.open_count - 1]
    }

    fn open(&mut self, is_array: bool, start: Place<'t>) {
        if self.open_count == self.scopes.len() {
            self.scopes.push(Scope::new(start));
        }
        self.open_count += 1;
        let scope = self.innermost();
        (scope.is_array, scope.start) = (is_array, start);
    }

    fn close(&mut self) {
        let memory = self.memory;
        let scope = self.innermost();
        let value = if scope.is_array {
            let nodes = memory.alloc_slice_copy(&scope.nodes);
            scope.nodes.clear();
            Value::Array(nodes)
        } else {
            Value::Map(scope.entries.close(memory))
        };
        let start = scope.start;
        self.open_count -= 1;
        self.set(value, start);
    }

    fn set_key(&mut self, key: &'t str, place: Place<'t>) {
        self.innermost().pending = Some((key, place));
    }

    /// Puts a value in its place. In a map it takes the place of its key, which is more useful.
    fn set(&mut self, value: Value<'t>, place: Place<'t>) {
        let scope = self.innermost();
        if scope.is_array {
            scope.nodes.push(Node::element(place, value));
        } else if let Some((key, place)) = scope.pending.take() {
            scope.entries.push(Node::entry(key, place, value));
        }
    }

    /// The value of `$name`: from the surrounding maps, inside out, then from the environment.
    fn variable(&mut self, name: &str, place: Place<'t>) -> Result<Value<'t>, Problem> {
        if BCRYPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            return Ok(Value::Text(self.memory.alloc_str(&format!("${name}"))));
        }
        let error = |why: &str| {
            let position = Position::from(place);
            let text = format!("variable reference for '{name}' on line {} {why}", position.line);
            Problem { severity: Severity::Error, position: Some(position), text }
        };
        let open = self.scopes[..self.open_count].iter_mut().rev();
        let found = open.filter(|scope| !scope.is_array).find_map(|scope| scope.entries.find(name));
        if let Some(node) = found {
            node.set_used_as_variable();
            self.budget.copied_nodes += node.count();
            if self.budget.copied_nodes > COPIED_NODES_MAX {
                return Err(error("copies too much"));
            }
            return Ok(node.value);
        }
        match self.environment(name) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(error("can not be found")),
            Err(inner) => Err(error(&format!("could not be parsed: {inner}"))),
        }
    }

    /// The value of an environment variable, read like a value of the file.
    fn environment(&mut self, name: &str) -> Result<Option<Value<'t>>, String> {
        if self.budget.environment.iter().any(|open| open == name) {
            return Err(format!("variable reference cycle for '{name}'"));
        }
        if self.depth >= DEPTH_MAX {
            return Err("variables refer to each other too deeply".to_owned());
        }
        let Some(text) = (self.sources.environment)(name) else { return Ok(None) };
        self.budget.environment.push(name.to_owned());
        let [name, text] = [format!("${name}"), format!("{ENVIRONMENT_KEY}={text}")];
        let [name, text] = [name, text].map(|text| &*self.memory.alloc_str(&text));
        let parser = Parser::new(
            self.sources,
            self.memory,
            self.budget,
            self.depth + 1,
            Text::new(name, text),
            self.folder.clone(),
        );
        let result = parser.run();
        self.budget.environment.pop();
        match result {
            Ok(map) => {
                let value = map.nodes().iter().find(|node| node.key() == ENVIRONMENT_KEY);
                Ok(value.map(|node| node.value))
            }
            Err(problem) => Err(problem.text),
        }
    }

    /// Adds the settings of another file to the map that contains the `include`.
    fn include(&mut self, file: &str, place: Place<'t>) -> Result<(), Problem> {
        // nats-differs: an absolute path is absolute; the real server appends it to the folder.
        let path = self.folder.join(file);
        let depth = self.depth + 1;
        self.budget.files += 1;
        let text = match self.budget.files > FILES_MAX || depth > DEPTH_MAX {
            true => Err(without_position(format!("{}: included too often", path.display()))),
            false => read(&path, self.sources),
        };
        let included = text
            .map(|text| &*self.memory.alloc_str(&text))
            .and_then(|text| parse_file(&path, text, self.sources, self.memory, self.budget, depth))
            .map_err(|inner| Problem {
                severity: Severity::Error,
                position: Some(inner.position.unwrap_or_else(|| place.into())),
                text: format!("error parsing include file '{file}', {}", inner.text),
            })?;
        self.innermost().entries.extend(included);
        Ok(())
    }

    fn syntax_error(&self, error: SyntaxError) -> Problem {
        let position = Position::from(Place::new(self.text, error.at));
        let text = format!("Parse error on line {}: '{}'", position.line, error.text);
        Problem { severity: Severity::Error, position: Some(position), text }
    }
}
