use super::error::{ConfigError, Source};
use super::file::SettingsFile;
use super::layers::{Environment, Written, put_together};
use super::{ServeConfig, show};

mod access;
mod channel;
mod checked;
mod command_line;
mod layers;
mod settings;

/// No test may depend on a `commentd.toml` in the working directory, so the file is a text.
#[derive(Default)]
struct Layers<'a> {
    flags: &'a [(&'a str, &'a str)],
    sets: &'a [&'a str],
    env: &'a [(&'a str, &'a str)],
    file: &'a str,
}

impl Layers<'_> {
    fn load(&self) -> Result<Written, Vec<ConfigError>> {
        let file = SettingsFile::parse(self.file, "commentd.toml", &Source::Default)?;
        let flags = self.flags.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let sets = self.sets.iter().map(|set| (*set).into()).collect();
        put_together(flags, sets, file, &Environment::of(self.env.iter().copied()))
    }

    fn check(&self) -> Result<ServeConfig, Vec<ConfigError>> {
        self.load()?.check()
    }

    /// The errors as people read them.
    fn errors(&self) -> Vec<String> {
        self.check().unwrap_err().iter().map(ToString::to_string).collect()
    }

    /// The only error.
    fn error(&self) -> String {
        let mut errors = self.errors();
        assert_eq!(errors.len(), 1, "{errors:#?}");
        errors.remove(0)
    }

    /// A setting's value and source as `config show` has them.
    fn shown(&self, name: &str) -> (String, String) {
        let rows = show::rows(&self.load().unwrap());
        let row = rows.into_iter().find(|row| row.name == name).unwrap();
        (row.value, row.source)
    }
}

/// What makes the defaults complete.
const URL: (&str, &str) = ("channel-url", "http://127.0.0.1:1");

fn flags<'a>(flags: &'a [(&'a str, &'a str)]) -> Layers<'a> {
    Layers { flags, ..Layers::default() }
}
