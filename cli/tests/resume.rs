//! A run that is killed, interrupted or out of disk goes on as if nothing had happened.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod toy;

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use toy::{Said, Toy};

fn start(toy: &Toy, args: &[&str]) -> Child {
    toy.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The newest complete checkpoint of a run.
fn checkpoint(toy: &Toy, run: &str) -> Option<String> {
    toy.names(run).into_iter().rfind(|name| name.starts_with("checkpoint-"))
}

/// Waits until a run has a checkpoint of this step or a later one.
fn wait_for(toy: &Toy, run: &str, step: u64) {
    let name = format!("checkpoint-{step:08}");
    let start = Instant::now();
    while checkpoint(toy, run).is_none_or(|newest| newest < name) {
        assert!(start.elapsed() < Duration::from_secs(120), "no {name}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The best model and everything of the last checkpoint that decides how a run goes on.
fn result(toy: &Toy, run: &str) -> Vec<(String, Vec<u8>)> {
    let last = checkpoint(toy, run).unwrap();
    let mut files = toy.files(&format!("{run}/best"));
    for name in ["parameters.safetensors", "optimizer.safetensors"] {
        files.push((format!("{last}/{name}"), toy.read(&format!("{run}/{last}/{name}"))));
    }
    files
}

fn assert_same(a: &[(String, Vec<u8>)], b: &[(String, Vec<u8>)]) {
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|f| f.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(a), names(b));
    for ((name, a), (_, b)) in a.iter().zip(b) {
        assert!(a == b, "{name} differs");
    }
}

/// Arguments of a run in `dir`, with a checkpoint every three steps.
fn train<'a>(dir: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "config.toml", "--set", "train.checkpoint_every_steps=3", "--set", dir], more].concat()
}

#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    let toy = Toy::new();
    toy.run(&train("output.dir=whole", &[])).ok();
    let whole = result(&toy, "whole");
    // Killed in the first epoch, and again, in the middle of a later one.
    for (attempt, step) in [3, 27].into_iter().enumerate() {
        let resume: &[&str] = if attempt == 0 { &[] } else { &["--resume"] };
        let mut child = start(&toy, &train("output.dir=killed", resume));
        wait_for(&toy, "killed", step);
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), None, "the run was over before it was killed");
    }
    // Then the disk is full: what there is stays, and the message says what failed.
    let before = (toy.files("killed/best"), checkpoint(&toy, "killed"));
    let limited = "trap '' XFSZ; ulimit -f 40; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", limited, env!("CARGO_BIN_EXE_bert4rs")])
        .args(train("output.dir=killed", &["--resume"]));
    let said = Said::from(command.current_dir(toy.path("")).output().unwrap());
    said.fails(&["killed/", "cannot be written", "untouched"]);
    assert_same(&toy.files("killed/best"), &before.0);
    assert_eq!(checkpoint(&toy, "killed"), before.1);
    toy.run(&["predict", "killed/best", "北山"]).ok();
    assert!(toy.names("killed").iter().all(|name| !name.starts_with('.')), "{:?}", toy.names("killed"));

    let said = toy.run(&train("output.dir=killed", &["--resume"])).ok();
    assert!(said.err.contains("resumed from killed/checkpoint-"), "{}", said.err);
    assert_same(&result(&toy, "killed"), &whole);
}

#[test]
fn ctrl_c_keeps_a_checkpoint_and_tells_how_to_go_on() {
    let toy = Toy::new();
    let child = start(&toy, &train("output.dir=run", &[]));
    wait_for(&toy, "run", 3);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output: Output = child.wait_with_output().unwrap();
    let said = Said::from(output);
    assert_eq!((said.code, said.out.as_str()), (Some(130), ""), "{}", said.err);
    let command =
        "bert4rs train config.toml --set train.checkpoint_every_steps=3 --set output.dir=run --resume";
    assert!(said.err.contains(command) && said.err.contains("stopped after step"), "{}", said.err);
    toy.run(&train("output.dir=run", &["--resume"])).ok();
}

#[test]
fn a_run_folder_belongs_to_one_run() {
    let toy = Toy::new();
    let short = ["train", "config.toml", "--set", "train.epochs=1"];
    let said = toy.run(&[&short[..], &["--resume"]].concat()).ok(); // nothing there yet: a new run
    assert!(!said.err.contains("resumed"), "{}", said.err);
    let config = toy.read("run/config.toml");

    toy.run(&short).fails(&["run: already holds a run", "--resume", "--set output.dir="]);
    let resume = |set: &str| toy.run(&[&short[..], &["--resume", "--set", set]].concat());
    resume("head.decoder=crf").fails(&[r#"head.decoder was "global_pointer" and is now "crf""#]);
    resume("encoder.hidden_size=16").fails(&["encoder.hidden_size was 32 and is now 16"]);
    resume("train.lr=0.02").fails(&["train.lr was 0.01 and is now 0.02"]);
    resume("data.dev=train.jsonl").fails(&["this is another run", "examples"]);
    assert_eq!(toy.read("run/config.toml"), config, "a refused run changes nothing");
    resume("train.epochs=2").ok();
}
