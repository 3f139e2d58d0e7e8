//! In tests only: the man page and the completions of shells, made of the tables of flags.
//!
//! They are kept in `docs/`, for packages to install; a test compares. After a change of flags
//! `RENEW_DOCS=1 cargo test --lib manual` writes them anew.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::client;
use super::flag::Flag;
use super::flags::{LAST, SECTIONS};
use super::help::{SYNTAX, TITLE, USAGE, entries};

/// The words that begin an action of a client.
const ACTIONS: [&str; 4] = ["pub", "sub", "req", "reply"];

/// A name of a flag, with the facts that a shell needs.
struct Known {
    name: &'static str,
    argument: &'static str,
    help: String,
    /// The actions with this flag; none for those of a server.
    actions: &'static [&'static str],
}

impl Known {
    fn takes_value(&self) -> bool {
        !matches!(self.argument.as_bytes(), [] | [b'[', ..])
    }
}

fn known() -> Vec<Known> {
    let mut all = Vec::new();
    for section in SECTIONS.iter().chain([&LAST]) {
        add(&mut all, section.flags, |_| &[]);
    }
    add(&mut all, client::FLAGS.flags, |flag| flag.effect.words);
    all
}

fn add<A>(
    all: &mut Vec<Known>,
    flags: &'static [Flag<A>],
    actions: impl Fn(&Flag<A>) -> &'static [&'static str],
) {
    for (at, flag) in flags.iter().enumerate() {
        let texts = flags[at..].iter().map(|flag| flag.help);
        let help = texts.into_iter().find(|help| !help.is_empty()).unwrap();
        all.extend(flag.names.iter().map(|name| Known {
            name,
            argument: flag.argument,
            help: help.replace('\n', " "),
            actions: actions(flag),
        }));
    }
}

fn man_page() -> String {
    let escaped = |text: &str| text.replace('-', "\\-").replace('\n', " ");
    let (name, does) = TITLE.split_once(": ").unwrap();
    let mut page = format!(
        ".TH DIALTONE 1 \"\" \"dialtone {}\"\n.SH NAME\n{name} \\- {does}\n.SH SYNOPSIS\n",
        env!("CARGO_PKG_VERSION")
    );
    for (call, does) in USAGE {
        let _ = writeln!(page, ".TP\n.B {}\n{does}", escaped(call));
    }
    let _ = writeln!(page, ".SH OPTIONS\n{SYNTAX}");
    let section = |page: &mut String, title: &str, entries: Vec<(String, &str)>| {
        if !title.is_empty() {
            let _ = writeln!(page, ".SS {title}");
        }
        for (calls, help) in entries {
            let _ = writeln!(page, ".TP\n.B {}\n{}", escaped(&calls), escaped(help));
        }
    };
    section(&mut page, "Anywhere", entries(LAST.flags));
    for part in &SECTIONS {
        section(&mut page, part.title, entries(part.flags));
    }
    section(&mut page, client::FLAGS.title, entries(client::FLAGS.flags));
    page
}

fn bash() -> String {
    let known = known();
    let valued = |pick: fn(&Known) -> bool| {
        let names = known.iter().filter(|flag| flag.takes_value() && pick(flag));
        names.map(|flag| flag.name).collect::<Vec<_>>().join(" | ")
    };
    let of = |pick: &dyn Fn(&Known) -> bool| {
        known.iter().filter(|flag| pick(flag)).map(|flag| flag.name).collect::<Vec<_>>().join(" ")
    };
    let mut text = format!(
        "# The completion of dialtone for bash.\n\
         _dialtone() {{\n  \
           local word=${{COMP_WORDS[COMP_CWORD]}} words\n  \
           case ${{COMP_WORDS[COMP_CWORD - 1]}} in\n    \
             {}) COMPREPLY=($(compgen -f -- \"$word\")) && return ;;\n    \
             {}) COMPREPLY=($(compgen -d -- \"$word\")) && return ;;\n    \
             {}) return ;;\n  \
           esac\n  \
           case ${{COMP_WORDS[1]}} in\n",
        valued(|flag| flag.argument == "FILE"),
        valued(|flag| flag.argument == "DIR"),
        valued(|flag| !matches!(flag.argument, "FILE" | "DIR")),
    );
    for action in ACTIONS {
        let flags = of(&|flag| flag.actions.contains(&action));
        let _ = writeln!(text, "    {action}) words=\"{flags}\" ;;");
    }
    let _ = write!(
        text,
        "    *)\n      words=\"{}\"\n      \
               ((COMP_CWORD > 1)) || words+=\" {} help version\"\n      ;;\n  \
           esac\n  \
           COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n}}\n\
         complete -F _dialtone dialtone\n",
        of(&|flag| flag.actions.is_empty()),
        ACTIONS.join(" "),
    );
    text
}

fn zsh() -> String {
    let specs = |pick: &dyn Fn(&Known) -> bool| {
        let mut text = String::new();
        for flag in known().iter().filter(|flag| pick(flag)) {
            let help = flag.help.replace('[', "\\[").replace(']', "\\]").replace('\'', "'\\''");
            let value = match flag.argument {
                _ if !flag.takes_value() => String::new(),
                "FILE" => ":FILE:_files".to_owned(),
                "DIR" => ":DIR:_files -/".to_owned(),
                other => format!(":{}:", other.replace(':', "\\:")),
            };
            let _ = writeln!(text, "      '*{}[{help}]{value}'", flag.name);
        }
        text
    };
    let mut text = "#compdef dialtone\n# The completion of dialtone for zsh.\n\
                    case ${words[2]} in\n"
        .to_owned();
    for action in ACTIONS {
        let specs = specs(&|flag| flag.actions.contains(&action));
        let _ = writeln!(text, "  {action})\n    _arguments \\\n{}", continued(&specs));
        text.push_str("      '1:word:' '2:subject:' '3:body:'\n    ;;\n");
    }
    let server = specs(&|flag| flag.actions.is_empty());
    let _ = write!(
        text,
        "  *)\n    _arguments \\\n{}\n      '1:word:({} help version)'\n    ;;\nesac\n",
        continued(&server),
        ACTIONS.join(" ")
    );
    text
}

/// The lines of one command of a shell, to be followed by another.
fn continued(lines: &str) -> String {
    lines.lines().map(|line| format!("{line} \\")).collect::<Vec<_>>().join("\n")
}

fn fish() -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "\\'"));
    let mut text = "# The completion of dialtone for fish.\ncomplete -c dialtone -f\n".to_owned();
    for (call, does) in &USAGE[1..5] {
        let action = call.split(' ').nth(1).unwrap();
        let _ = writeln!(
            text,
            "complete -c dialtone -n __fish_use_subcommand -a {action} -d {}",
            quoted(does)
        );
    }
    for flag in known() {
        let condition = match flag.actions {
            [] => format!("not __fish_seen_subcommand_from {}", ACTIONS.join(" ")),
            actions => format!("__fish_seen_subcommand_from {}", actions.join(" ")),
        };
        let name = match flag.name.trim_start_matches('-') {
            name if flag.name.starts_with("--") => format!("-l {name}"),
            name if name.len() == 1 => format!("-s {name}"),
            name => format!("-o {name}"),
        };
        let value = match flag.argument {
            _ if !flag.takes_value() => "",
            "FILE" => " -r -F",
            "DIR" => " -x -a '(__fish_complete_directories)'",
            _ => " -x",
        };
        let (condition, help) = (quoted(&condition), quoted(&flag.help));
        let _ = writeln!(text, "complete -c dialtone -n {condition} {name}{value} -d {help}");
    }
    text
}

#[test]
fn docs_have_the_flags_there_are() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (file, text) in [
        ("dialtone.1", man_page()),
        ("completions/dialtone.bash", bash()),
        ("completions/_dialtone", zsh()),
        ("completions/dialtone.fish", fish()),
    ] {
        let path = docs.join(file);
        if std::env::var_os("RENEW_DOCS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == text, "docs/{file}: RENEW_DOCS=1 cargo test --lib manual writes it anew");
    }
}
