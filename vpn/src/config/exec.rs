//! The tables `[exec.NAME]`: the commands that clients may run on the server.

use std::path::Path;
use std::sync::Arc;

use toml::Spanned;

use super::problem::Fault;
use super::section::{Context, Section};
use super::table::RawTable;
use super::values::path;
use crate::session::{ExecCommand, ExecCommands};

/// The keys of one table `[exec.NAME]`.
const COMMAND_KEYS: [&str; 2] = ["command", "folder"];

/// The commands of all tables `[exec.NAME]`. A relative `folder` starts from the folder of the
/// configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecTable {
    /// The commands by their names.
    pub commands: Arc<ExecCommands>,
    /// The line of the first table. `None` if there is none.
    pub line: Option<usize>,
}

impl Section for ExecTable {
    const NAME: &'static str = "exec";
    /// Users choose the keys of `[exec]`: they are the names of the commands.
    const KEYS: &'static [&'static str] = &[];

    fn read(file: &mut RawTable<'_>, context: &Context<'_>) -> Result<Self, Fault> {
        let tables = file.named_tables(Self::NAME, &COMMAND_KEYS)?;
        let line = tables.first().map(|(name, _)| context.line(&name.span()));
        let folder = context.source.folder();
        let commands = tables.into_iter().map(|(name, table)| read_command(name, table, folder));
        Ok(Self { commands: Arc::new(commands.collect::<Result<_, _>>()?), line })
    }

    // A person who can write the file can run programs as the server's user.
    fn needs_trust(&self) -> bool {
        !self.commands.is_empty()
    }
}

impl ExecTable {
    /// The command of this name.
    pub fn find(&self, name: &str) -> Option<&ExecCommand> {
        self.commands.find(name)
    }
}

/// Reads one table `[exec.NAME]`.
fn read_command(
    name: Spanned<String>,
    mut table: RawTable<'_>,
    folder: &Path,
) -> Result<(String, ExecCommand), Fault> {
    let span = name.span();
    let name = name.into_inner();
    if !ExecCommands::is_name(&name) {
        let message = format!(
            "exec: '{name}' cannot be the name of a command; a name has 1 to 64 of the characters \
             a to z, 0 to 9, '.', '_' and '-'"
        );
        return Err(Fault::message(span, message));
    }
    let example = "command = [\"/usr/bin/borg\", \"serve\"]";
    let folder = path(&mut table, "folder", folder)?;
    let Some(words) = table.texts("command")? else {
        let message = format!("exec.{name} has no command; add a line such as {example}");
        return Err(Fault::message(span, message));
    };
    if let Some(word) = words.iter().find(|word| word.get_ref().contains('\0')) {
        let message = "command: the system does not allow the character \\0 in a command";
        return Err(Fault::message(word.span(), message));
    }
    let mut words = words.into_iter();
    let Some(program) = words.next() else {
        let message = format!("the command of exec.{name} is empty; write {example}");
        return Err(Fault::message(span, message));
    };
    if !Path::new(program.get_ref()).is_absolute() {
        let message = format!(
            "command: '{}' is no absolute path; the first text is the whole path of a program, as in \
             {example}",
            program.get_ref()
        );
        return Err(Fault::message(program.span(), message));
    }
    let program = program.into_inner().into();
    let arguments = words.map(Spanned::into_inner).collect();
    Ok((name, ExecCommand { program, arguments, folder }))
}

#[cfg(test)]
mod tests {
    use super::super::{Overrides, Settings, Source};
    use super::*;
    use std::path::PathBuf;
    use vpn_suite::Registry;
    // rustc links only crates that are named.
    use vpn_suites as _;

    const CIPHER: &str = "[[supported_cipher]]\nname = 'AES'\nkeys = [128]\n";

    fn read(tables: &str) -> Result<ExecTable, String> {
        let source = Source::File("/etc/vpn/c.toml".into());
        let registry = Registry::linked().unwrap();
        let text = format!("{CIPHER}{tables}");
        Settings::parse(&text, source, &registry, &Overrides::default())
            .map(|settings| settings.exec)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn commands_are_found_by_their_names() {
        let command = |program: &str, arguments: &[&str], folder: Option<&str>| ExecCommand {
            program: program.into(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            folder: folder.map(PathBuf::from),
        };
        let separate = "[exec.backup]\ncommand = ['/usr/bin/borg', 'serve', 'a b', '']\n\
                        folder = '/srv'\n[exec.\"a.b-c_1\"]\ncommand = ['/bin/true']\nfolder = 'x'\n";
        let inline = "[exec]\n\
                      backup = { command = ['/usr/bin/borg', 'serve', 'a b', ''], folder = '/srv' }\n\
                      'a.b-c_1' = { command = ['/bin/true'], folder = 'x' }\n";
        for (text, line) in [(separate, 4), (inline, 5)] {
            let table = read(text).unwrap();
            let backup = command("/usr/bin/borg", &["serve", "a b", ""], Some("/srv"));
            assert_eq!(table.find("backup"), Some(&backup));
            // A relative folder starts from the folder of the file.
            let other = command("/bin/true", &[], Some("/etc/vpn/x"));
            assert_eq!(table.find("a.b-c_1"), Some(&other));
            assert_eq!(table.find("borg"), None);
            assert_eq!(table.commands.names().collect::<Vec<_>>(), ["a.b-c_1", "backup"]);
            assert_eq!(table.line, Some(line));
            assert!(table.needs_trust());
        }
        let none = read("").unwrap();
        assert_eq!(none, ExecTable::default());
        assert!(!none.needs_trust());
    }

    #[test]
    fn wrong_tables_are_refused_by_their_lines() {
        let long = format!("[exec.{}]\n", "a".repeat(65));
        for (text, line, words) in [
            ("[exec.a]\n\ncommand = ['bin/x']\n", 6, "'bin/x' is no absolute path"),
            ("[exec.a]\ncommand = ['~/x']\n", 5, "'~/x' is no absolute path"),
            ("[exec.a]\ncommand = ['']\n", 5, "'' is no absolute path"),
            ("[exec.a]\ncommand = []\n", 4, "the command of exec.a is empty; write command = ["),
            ("[exec.a]\nfolder = '/srv'\n", 4, "exec.a has no command; add a line such as command"),
            ("[exec.a]\ncommand = '/bin/x'\n", 5, "command is a list of texts: command = [\"/bin"),
            ("[exec.a]\ncommand = [1]\n", 5, "put quotes around each"),
            ("[exec.a]\ncommand = [\"/x\",\n\"a\\u0000\"]\n", 6, "the character \\0 in a command"),
            ("[exec.a]\ncommand = ['/x']\nfolder = 1\n", 6, "folder is a text"),
            ("[exec.a]\ncomand = ['/x']\n", 5, "'comand' of exec.a; is command meant?"),
            ("[exec.A]\ncommand = ['/x']\n", 4, "exec: 'A' cannot be the name of a command"),
            ("[exec.'']\ncommand = ['/x']\n", 4, "exec: '' cannot be the name"),
            ("[exec.'a b']\ncommand = ['/x']\n", 4, "exec: 'a b' cannot be the name"),
            (long.as_str(), 4, "cannot be the name of a command"),
            ("[exec.a.b]\ncommand = ['/x']\n", 4, "unknown setting 'b' of exec.a"),
            ("[exec]\na = '/x'\n", 5, "exec.a is a table; write [exec.a]"),
            ("[[exec]]\n", 4, "exec has a table for each name; write [exec.NAME]"),
            ("[[exec.a]]\ncommand = ['/x']\n", 4, "exec.a is one table; write it in single"),
        ] {
            let error = read(text).unwrap_err();
            let start = format!("/etc/vpn/c.toml:{line}: ");
            assert!(error.starts_with(&start) && error.contains(words), "{text}: {error}");
        }
    }
}
