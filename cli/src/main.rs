//! The `bert4rs` command line: data to standard output, everything else to standard error; exit
//! code 0 fine, 1 failed, 2 wrong usage, 130 interrupted.

mod args;
mod command;
mod input;
mod output;

use std::process::ExitCode;

use bert4rs_tensor::profile;
use clap::Parser;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    if let Some(threads) = cli.threads
        && let Err(error) = rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build_global()
    {
        output::say(&format!("error: --threads {threads}: {error}"));
        return ExitCode::FAILURE;
    }
    if cli.profile {
        profile::start();
    }
    let result = match &cli.command {
        args::Command::Train(args) => command::train::run(args, cli.json),
        args::Command::Eval(args) => command::eval::run(args, cli.json),
        args::Command::Predict(args) => command::predict::run(args, cli.json),
        args::Command::Embed(args) => command::embed::run(args, cli.json),
        args::Command::Rerank(args) => command::rerank::run(args, cli.json),
        args::Command::Info(args) => command::info::run(args, cli.json),
        args::Command::Bench(args) => command::bench::run(args, cli.json),
        args::Command::Convert(args) => command::convert::run(args, cli.json),
        args::Command::Export(args) => command::export::run(args, cli.json),
        args::Command::Verify(args) => command::verify::run(args, cli.json),
        args::Command::Doctor(args) => command::doctor::run(args, cli.json),
        args::Command::Calibrate(args) => command::calibrate::run(args, cli.json),
        args::Command::Whiten(args) => command::whiten::run(args, cli.json),
        args::Command::Index(args) => command::index::run(args, cli.json),
        args::Command::Search(args) => command::search::run(args, cli.json),
        args::Command::Lab(verb) => command::lab::run(verb, cli.json),
    };
    if cli.profile {
        output::say(output::profile_table(&profile::stop()).trim_end());
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::say(&format!("error: {error:#}"));
            exit_code(&error)
        }
    }
}

fn exit_code(error: &anyhow::Error) -> ExitCode {
    use bert4rs_tasks::Error;
    match error.downcast_ref::<Error>() {
        Some(Error::Assignment(_)) => ExitCode::from(2),
        Some(Error::Train(bert4rs_train::Error::Stopped { .. })) => {
            ExitCode::from(command::train::INTERRUPTED)
        }
        _ if error.is::<command::Usage>() => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}
