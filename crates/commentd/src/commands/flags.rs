//! The settings of `serve` as flags, which several commands take.

use clap::{ArgMatches, FromArgMatches};
use commentd_sidecar::config::clap::{GivenFlags, clap_args, clap_args_of_channel};
use commentd_sidecar::config::{ConfigError, Environment, Written};

/// Makes a group of flags of such a list of arguments.
macro_rules! flag_group {
    ($(#[$doc:meta])* $vis:vis $name:ident, $args:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        $vis struct $name(GivenFlags);

        impl $name {
            /// The configuration with these flags on top.
            ///
            /// # Errors
            /// What is wrong with the layers themselves.
            pub(crate) fn load(self) -> Result<Written, Vec<ConfigError>> {
                self.0.load(&Environment::of_process())
            }
        }

        impl clap::Args for $name {
            fn augment_args(command: clap::Command) -> clap::Command {
                command.args($args())
            }
            fn augment_args_for_update(command: clap::Command) -> clap::Command {
                Self::augment_args(command)
            }
        }

        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                Ok(Self(GivenFlags::of(matches)))
            }
            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

flag_group!(
    /// Every setting of `serve`, as flags.
    pub ServeFlags,
    clap_args
);
flag_group!(
    /// The settings that choose a channel, as flags.
    pub(crate) ChannelFlags,
    clap_args_of_channel
);

impl ServeFlags {
    /// Adds flags that were given before these, which are therefore stronger.
    pub(crate) fn put_before(&mut self, flags: Vec<(String, String)>) {
        self.0.flags.splice(0..0, flags);
    }
}

impl ChannelFlags {
    /// The same with this channel.
    #[must_use]
    pub(crate) fn with_channel(mut self, name: &str) -> Self {
        self.0.flags.retain(|(flag, _)| flag != "channel");
        self.0.flags.push(("channel".into(), name.into()));
        self
    }
}
