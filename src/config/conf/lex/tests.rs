//! Tokens of each kind, and error texts.

use super::*;

fn tokens(text: &str) -> Result<Vec<Token<'_>>, String> {
    let mut lexer = Lexer::new(text);
    let mut tokens = Vec::new();
    loop {
        match lexer.next_token() {
            Ok(Spanned { token: Token::End, .. }) => return Ok(tokens),
            Ok(spanned) => tokens.push(spanned.token),
            Err(error) => {
                let line = 1 + text[..error.at].matches('\n').count();
                return Err(format!("line {line}: {}", error.text));
            }
        }
    }
}

fn value(text: &str) -> Token<'static> {
    tokens(format!("a: {text}\n").leak()).unwrap().remove(1)
}

fn text(text: &str) -> Token<'_> {
    Token::Text(text.into())
}

#[test]
fn separators_and_terminators() {
    let wanted = [Token::Key("a"), Token::Integer(1), Token::Key("b"), Token::Integer(2)];
    for written in [
        "a: 1\nb: 2",
        "a = 1; b = 2",
        "a 1, b 2,",
        "{a: 1, b: 2}",
        "{\n\"a\": 1,\n'b': 2,\n}\n",
        "# c\na 1 # d\n// e\nb\n2 // f",
        "a: 1\nb: 2\n}\n",
        "{ a: 1\nb: 2\n",
        "a:1}b:2",
    ] {
        assert_eq!(tokens(written).as_deref(), Ok(&wanted[..]), "{written:?}");
    }
}

#[test]
fn numbers_and_words() {
    let kib = 1024;
    for (written, wanted) in [
        ("1", Token::Integer(1)),
        ("-1", Token::Integer(-1)),
        ("2m", Token::Integer(2_000_000)),
        ("128KB", Token::Integer(128 * kib)),
        ("1Mib", Token::Integer(kib * kib)),
        ("1.5", Token::Float(1.5)),
        ("-0.5", Token::Float(-0.5)),
        ("1m30s", text("1m30s")),
        ("500ms", text("500ms")),
        ("5m5", text("5m5")),
        ("-10ms", text("-10ms")),
        ("-2k", Token::Integer(-2000)),
        ("127.0.0.1:4222", text("127.0.0.1:4222")),
        ("127.0.0.1:-1", text("127.0.0.1:-1")),
        ("nats://a:1", text("nats://a:1")),
        ("On", Token::Bool(true)),
        ("NO", Token::Bool(false)),
        ("\"true\"", text("true")),
        ("'a\\n'", text("a\\n")),
        (r#""\x41\t\n\r\"\\""#, text("A\t\n\r\"\\")),
        ("a#b//c", text("a#b//c")),
        ("$X", Token::Variable("X")),
        ("(\nline $X\n)", text("\nline $X\n")),
        ("2016-05-04T18:53:41Z", Token::DateTime("2016-05-04T18:53:41Z")),
    ] {
        assert_eq!(value(written), wanted, "{written:?}");
    }
    assert_eq!(tokens("a:"), Ok(vec![Token::Key("a"), text("")]));
}

#[test]
fn arrays_maps_and_includes() {
    let wanted = [
        Token::Key("a"),
        Token::ArrayStart,
        Token::Integer(1),
        Token::Integer(2),
        Token::ArrayEnd,
        Token::Key("m"),
        Token::MapStart,
        Token::Include("x.conf"),
        Token::Key("b"),
        text("c"),
        Token::MapEnd,
    ];
    for written in [
        "a: [1, 2]\nm { include x.conf\n b: c }",
        "a [ 1 # one\n 2,\n]; m = {include 'x.conf', b:\n c}",
    ] {
        assert_eq!(tokens(written).as_deref(), Ok(&wanted[..]), "{written:?}");
    }
    let wanted = [
        Token::Key("a"),
        Token::ArrayStart,
        Token::Integer(-10_000),
        text("-10k"),
        Token::ArrayEnd,
    ];
    assert_eq!(tokens("a: [-10k, -10k]").as_deref(), Ok(&wanted[..]));
}

/// Texts compared with `nats-server -t`; only its text for EOF (a NUL) differs.
#[test]
fn error_texts() {
    for (written, wanted) in [
        (
            "port: 4222 debug: true\n",
            "line 1: Expected a top-level value to end with a new line, comment or EOF, \
             but got 'd' instead.",
        ),
        (
            "cluster{ name: x }",
            "line 1: Expected a top-level value to end with a new line, comment or EOF, \
             but got 'x' instead.",
        ),
        (
            "port: 4222\nserver_tags: [a b]\n",
            "line 2: Expected an array value terminator \",\" or an array terminator \"]\", \
             but got 'b' instead.",
        ),
        (
            "http: {a: 1",
            "line 1: Expected a map value terminator \",\" or a map terminator \"}\", \
             but got 'EOF' instead.",
        ),
        ("port:\n4222", "line 2: Expected value but found new line"),
        (
            "server_name: \"a\\q\"",
            "line 1: Invalid escape character 'q'. Only the following escape characters are \
             allowed: \\xXX, \\t, \\n, \\r, \\\", \\\\.",
        ),
        ("a: -x", "line 1: Expected a digit but got 'x'."),
        ("a: 1.x", "line 1: Floats must have a digit after the '.', but got 'x' instead."),
        ("a: 12-1", "line 1: All ISO8601 dates must be in full Zulu form."),
        ("a: 9223372036854775808", "line 1: integer '9223372036854775808' is out of the range"),
        ("a: 99e", "line 1: integer '99e' is out of the range"),
        ("a: 1kbi", "line 1: unknown unit 'kbi' after '1'"),
        ("a: \"\\xzz\"", "line 1: Expected two hexadecimal digits after '\\x', but got 'zz'"),
        ("a: \"\\xff\"", "line 1: Escapes '\\x' must form valid UTF-8"),
        ("a: (\n x", "line 2: Unexpected EOF processing block."),
        ("a", "line 1: Expected value but found EOF"),
        ("a: {\nb", "line 2: Unexpected EOF processing map key."),
        ("a: {\n'b", "line 2: Unexpected EOF processing quoted map key."),
        ("a: {\n\"b", "line 2: Unexpected EOF processing double quoted map key."),
        ("=", "line 1: Unexpected key separator '='"),
    ] {
        assert_eq!(tokens(written), Err(wanted.to_owned()), "{written:?}");
    }
    let deep = "a: ".to_owned() + &"[".repeat(NESTING_MAX + 1);
    assert_eq!(tokens(&deep), Err("line 1: Nested deeper than 64 levels".to_owned()));
}
