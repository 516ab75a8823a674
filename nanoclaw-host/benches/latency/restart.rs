//! How soon a host that was killed serves again while containers of its predecessor live.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::{containers::Bridge, figures::Figure, program::Installation};

pub(crate) fn measure(program: &Path, containers: usize, kills: usize) -> Vec<Figure> {
    let mut figures = Vec::new();
    for runtime in ["sandbox", "docker"] {
        eprintln!("{kills} kills with {containers} live containers of the runtime {runtime}");
        match of_runtime(program, runtime, containers, kills) {
            Ok(more) => figures.extend(more),
            Err(error) => eprintln!("skipped: needs {runtime}, an image, and agent-runner beside nanoclaw: {error}"),
        }
    }
    figures
}

fn of_runtime(program: &Path, runtime: &str, containers: usize, kills: usize) -> Result<Vec<Figure>, String> {
    let installation = Installation::with_groups(program, runtime, containers + 1);
    let (mut ready, mut replied) = (Vec::<Duration>::new(), Vec::<Duration>::new());
    let (mut service, _) = installation.serve()?;
    let mut bridge = Bridge::connect(&installation)?;
    for kill in 0..kills {
        // All of them but the last: that one's container is started by the next host.
        for number in 0..containers {
            bridge.turn(number, kill)?;
        }
        let killed = Instant::now();
        service.kill();
        service = installation.serve()?.0;
        ready.push(killed.elapsed());
        bridge = bridge.again(&installation)?;
        bridge.turn(containers, kill)?;
        replied.push(killed.elapsed());
    }
    Ok(vec![
        Figure::times(format!("{runtime}: SIGKILL with {containers} live containers to ready again"), &ready)
            .under(1000.0),
        Figure::times(format!("{runtime}: the same to the reply of a group that had no container"), &replied),
    ])
}
