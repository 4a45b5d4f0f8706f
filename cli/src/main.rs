//! The `bert4rs` command line: data to standard output, everything else to standard error; exit
//! code 0 fine, 1 failed, 2 wrong usage.

mod args;
mod command;
mod input;
mod output;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    if let Some(threads) = cli.threads
        && let Err(error) = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()
    {
        eprintln!("error: --threads {threads}: {error}");
        return ExitCode::from(2);
    }
    let result = match &cli.command {
        args::Command::Train(args) => command::train::run(args, cli.json),
        args::Command::Eval(args) => command::eval::run(args, cli.json),
        args::Command::Predict(args) => command::predict::run(args, cli.json),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
