//! Tokens to a tree of values: nesting, variables, includes.
//!
//! Knows scopes and the position of each text; no setting's meaning. Files and the environment come
//! through [`Sources`]. The constants below bound the growth of a small text.
//! nats: conf/parse.go

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lex::{Lexer, Spanned, SyntaxError, Token};
use super::value::{Entries, Key, Map, Node, Value};
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

/// The texts of all files of one configuration; its tree borrows from them.
pub(super) struct Texts([OnceCell<String>; FILES_MAX]);

impl Default for Texts {
    fn default() -> Texts {
        Texts([const { OnceCell::new() }; FILES_MAX])
    }
}

/// Reads a file and its includes.
///
/// # Errors
/// The first violation of the grammar, missing variable or missing file.
pub(super) fn parse<'t>(
    file: &Path,
    sources: Sources<'_>,
    texts: &'t Texts,
) -> Result<Map<'t>, Problem> {
    let mut budget = Budget { files: 0, copied_nodes: 0, environment: Vec::new() };
    parse_file(file, sources, texts, &mut budget, 0)
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
    texts: &'t Texts,
    budget: &'b mut Budget,
    depth: usize,
    file: Arc<str>,
    /// Base folder of includes.
    folder: PathBuf,
    /// The open maps and arrays, the root first, so never empty.
    scopes: Vec<Scope<'t>>,
}

/// A map or an array that is still open.
struct Scope<'t> {
    kind: ScopeKind<'t>,
    /// The position of its value if it is an element of an array.
    start: Position,
}

enum ScopeKind<'t> {
    /// The entries so far and the key that waits for its value.
    Map(Entries<'t>, Option<(Key<'t>, Position)>),
    Array(Vec<Node<'t>>),
}

fn parse_file<'t>(
    file: &Path,
    sources: Sources<'_>,
    texts: &'t Texts,
    budget: &mut Budget,
    depth: usize,
) -> Result<Map<'t>, Problem> {
    let without_position =
        |text: String| Problem { severity: Severity::Error, position: None, text };
    budget.files += 1;
    if budget.files > FILES_MAX || depth > DEPTH_MAX {
        return Err(without_position(format!("{}: included too often", file.display())));
    }
    let text = (sources.file)(file)
        .map_err(|error| without_position(format!("open {}: {error}", file.display())))?;
    let text = texts.0[budget.files - 1].get_or_init(|| text);
    let folder = file.parent().map(Path::to_owned).unwrap_or_default();
    let name = Arc::from(file.to_string_lossy());
    Parser::new(sources, texts, budget, depth, name, folder).run(text)
}

impl<'a, 'b, 't> Parser<'a, 'b, 't> {
    fn new(
        sources: Sources<'a>,
        texts: &'t Texts,
        budget: &'b mut Budget,
        depth: usize,
        file: Arc<str>,
        folder: PathBuf,
    ) -> Self {
        let start = Position { file: file.clone(), line: 1, column: 0 };
        let root = Scope { kind: ScopeKind::Map(Entries::default(), None), start };
        Self { sources, texts, budget, depth, file, folder, scopes: vec![root] }
    }

    fn run(mut self, text: &'t str) -> Result<Map<'t>, Problem> {
        let mut lexer = Lexer::new(text);
        loop {
            let Spanned { token, line, column } =
                lexer.next_token().map_err(|error| self.syntax_error(error))?;
            let position = Position { file: self.file.clone(), line, column };
            if token == Token::End {
                break;
            }
            self.handle_token(token, position)?;
        }
        match self.scopes.swap_remove(0).kind {
            ScopeKind::Map(entries, _) => Ok(entries.into()),
            ScopeKind::Array(_) => unreachable!("the root is a map"),
        }
    }

    fn handle_token(&mut self, token: Token<'t>, position: Position) -> Result<(), Problem> {
        match token {
            Token::Key(key) => self.set_key(key, position),
            Token::Text(text) => self.set(Value::Text(text), position),
            Token::Integer(value) => self.set(Value::Integer(value), position),
            Token::Float(value) => self.set(Value::Float(value), position),
            Token::Bool(value) => self.set(Value::Bool(value), position),
            Token::DateTime(text) => self.set(Value::DateTime(text.into()), position),
            Token::MapStart => self.open(ScopeKind::Map(Entries::default(), None), position),
            Token::ArrayStart => self.open(ScopeKind::Array(Vec::new()), position),
            Token::MapEnd | Token::ArrayEnd => {
                if let Some(Scope { kind, start }) = self.scopes.pop() {
                    let value = match kind {
                        ScopeKind::Map(entries, _) => Value::Map(entries.into()),
                        ScopeKind::Array(nodes) => Value::Array(nodes),
                    };
                    self.set(value, start);
                }
            }
            Token::Variable(name) => {
                let value = self.variable(name, &position)?;
                self.set(value, position);
            }
            Token::Include(file) => self.include(file, position)?,
            Token::End => {}
        }
        Ok(())
    }

    fn open(&mut self, kind: ScopeKind<'t>, start: Position) {
        self.scopes.push(Scope { kind, start });
    }

    fn set_key(&mut self, key: &'t str, position: Position) {
        if let Some(ScopeKind::Map(_, pending)) = self.scopes.last_mut().map(|s| &mut s.kind) {
            *pending = Some((key.into(), position));
        }
    }

    /// Puts a value in its place. In a map it takes the position of its key, which is more useful.
    fn set(&mut self, value: Value<'t>, position: Position) {
        let Some(scope) = self.scopes.last_mut() else { return };
        match &mut scope.kind {
            ScopeKind::Array(nodes) => {
                nodes.push(Node { value, position, used_as_variable: false });
            }
            ScopeKind::Map(entries, pending) => {
                if let Some((key, position)) = pending.take() {
                    entries.push(key, Node { value, position, used_as_variable: false });
                }
            }
        }
    }

    /// The value of `$name`: from the surrounding maps, inside out, then from the environment.
    fn variable(&mut self, name: &str, position: &Position) -> Result<Value<'t>, Problem> {
        if BCRYPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            return Ok(Value::Text(format!("${name}").into()));
        }
        let reference = format!("variable reference for '{name}' on line {}", position.line);
        let error = |text: String| Problem {
            severity: Severity::Error,
            position: Some(position.clone()),
            text,
        };
        let found = self.scopes.iter_mut().rev().find_map(|scope| match &mut scope.kind {
            ScopeKind::Map(entries, _) => entries.find(name),
            ScopeKind::Array(_) => None,
        });
        if let Some(node) = found {
            node.used_as_variable = true;
            self.budget.copied_nodes += node.count();
            if self.budget.copied_nodes > COPIED_NODES_MAX {
                return Err(error(format!("{reference} copies too much")));
            }
            return Ok(node.value.clone());
        }
        match self.environment(name) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(error(format!("{reference} can not be found"))),
            Err(inner) => Err(error(format!("{reference} could not be parsed: {inner}"))),
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
        let text = format!("{ENVIRONMENT_KEY}={text}");
        let parser = Parser::new(
            self.sources,
            self.texts,
            self.budget,
            self.depth + 1,
            Arc::from(format!("${name}")),
            self.folder.clone(),
        );
        let result = parser.run(&text);
        self.budget.environment.pop();
        match result {
            Ok(map) => {
                let mut entries = map.into_entries();
                let value = entries.find(|(key, _)| key == ENVIRONMENT_KEY);
                Ok(value.map(|(_, node)| node.value.into_owned()))
            }
            Err(problem) => Err(problem.text),
        }
    }

    /// Adds the settings of another file to the map that contains the `include`.
    fn include(&mut self, file: &str, position: Position) -> Result<(), Problem> {
        // nats-differs: an absolute path is absolute; the real server appends it to the folder.
        let path = self.folder.join(file);
        let included = parse_file(&path, self.sources, self.texts, self.budget, self.depth + 1)
            .map_err(|inner| Problem {
                severity: Severity::Error,
                position: Some(inner.position.unwrap_or(position)),
                text: format!("error parsing include file '{file}', {}", inner.text),
            })?;
        if let Some(ScopeKind::Map(entries, _)) = self.scopes.last_mut().map(|s| &mut s.kind) {
            entries.extend(included.into_entries());
        }
        Ok(())
    }

    fn syntax_error(&self, error: SyntaxError) -> Problem {
        let SyntaxError { line, column, text } = error;
        Problem {
            severity: Severity::Error,
            position: Some(Position { file: self.file.clone(), line, column }),
            text: format!("Parse error on line {line}: '{text}'"),
        }
    }
}
