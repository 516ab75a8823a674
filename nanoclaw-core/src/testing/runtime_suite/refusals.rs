//! Promises about errors: each has its type, and nothing is left behind.

use super::{Promise, SuiteContext, expect_that, promise};
use crate::runtime::{ImageRef, RuntimeError};

pub(super) const PROMISES: &[Promise] = &[
    promise!(a_missing_command_is_told_as_such, Nothing, "The error names the command."),
    promise!(
        a_command_that_is_no_program_is_told_as_such,
        Nothing,
        "So does the one for a file that cannot be executed."
    ),
    promise!(f38_a_missing_image_is_told_as_such, Images, "The error names the image, at start and before."),
    promise!(an_image_that_is_there_is_found, Nothing, "Making sure of it says so."),
];

async fn a_missing_command_is_told_as_such(context: &SuiteContext) -> Result<(), String> {
    let mut spec = context.spec("");
    spec.command = vec!["/no/such/program".into(), "argument".into()];
    let error = context.refusal(&spec).await?;
    let typed = matches!(&error, RuntimeError::BadCommand { command, .. } if command == "/no/such/program");
    expect_that!(typed, "wanted a bad command, got {error:?}");
    context.gone(&spec).await
}

async fn a_command_that_is_no_program_is_told_as_such(context: &SuiteContext) -> Result<(), String> {
    let file = context.folder("bin")?.join("text");
    context.file(&file, "no program\n", 0o644)?;
    let mut spec = context.spec("");
    context.mount(&mut spec, "FILE", &file, "/nanoclaw/bin/text", crate::runtime::Access::ReadOnly);
    spec.command = vec![crate::runtime::GuestValue::Path("/nanoclaw/bin/text".to_owned())];
    let error = context.refusal(&spec).await?;
    expect_that!(matches!(error, RuntimeError::BadCommand { .. }), "wanted a bad command, got {error:?}");
    context.gone(&spec).await
}

async fn f38_a_missing_image_is_told_as_such(context: &SuiteContext) -> Result<(), String> {
    let missing = ImageRef::new("nanoclaw-suite-no-such-image:none").map_err(|error| error.to_string())?;
    let mut spec = context.spec("true");
    spec.image = missing.clone();
    let error = context.refusal(&spec).await?;
    let typed = matches!(&error, RuntimeError::NoImage { image } if *image == missing);
    expect_that!(typed, "start: wanted that there is no such image, got {error:?}");
    let ensured = context.runtime.ensure_image(&missing).await;
    let typed = matches!(&ensured, Err(RuntimeError::NoImage { image }) if *image == missing);
    expect_that!(typed, "ensure_image: wanted that there is no such image, got {ensured:?}");
    context.gone(&spec).await
}

async fn an_image_that_is_there_is_found(context: &SuiteContext) -> Result<(), String> {
    context.runtime.ensure_image(&context.image).await.map_err(|error| error.to_string())
}
