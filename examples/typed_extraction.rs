//! Takes the fields of a Rust type out of a text and says which of them the text does not contain.
//!
//!     cargo run --release --features schemars --example typed_extraction -- DIR [FILE]
//!
//! DIR is a model directory. Without a FILE, a delivery note that comes with the program is read.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use edgeslm::answer::Extractor;
use edgeslm::session::{GenerateOptions, SessionOptions};
use edgeslm::{LoadOptions, Model, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

const NOTE: &str =
    "Delivery note 4711\nNorthwind Bolts Ltd., 4 March 2025\n250 hex screws M8\nweight 12,5 kg";

/// A field that the text may lack is an `Option`.
#[derive(Deserialize, JsonSchema)]
struct Delivery {
    /// who delivered
    supplier: Option<String>,
    /// day of the delivery
    #[schemars(extend("format" = "date"))]
    date: Option<String>,
    /// in kilograms
    weight: Option<f64>,
    /// name of the driver
    driver: Option<String>,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(directory) = arguments.next() else {
        println!("usage: typed_extraction DIR [FILE]");
        return Ok(());
    };
    let note = match arguments.next() {
        Some(file) => {
            std::fs::read_to_string(&file).map_err(|error| edgeslm::Error::io(file.as_ref(), error))?
        }
        None => NOTE.to_owned(),
    };
    let model = Model::load(directory, &LoadOptions::default())?;
    let example =
        json!({"supplier": "Baker & Sons", "date": "2024-12-31", "weight": null, "driver": "Mary Poole"});
    let extractor = Extractor::of::<Delivery>(model.text())?
        .with_example("Baker & Sons, 31.12.2024\n40 loaves\ndelivered by Mary Poole", &example);
    let mut session = model.session(SessionOptions::default())?;
    let found = session.extract(&extractor, &note, &GenerateOptions::default())?;
    for field in &found.fields {
        println!("{:<12} {:<12} {}", field.path, field.support.name(), field.value);
    }
    let delivery: Delivery = found.typed()?;
    let said = |text: Option<String>| text.unwrap_or_else(|| "(not in the text)".to_owned());
    println!("supplier: {}", said(delivery.supplier));
    println!("date:     {}", said(delivery.date));
    println!("weight:   {}", said(delivery.weight.map(|weight| format!("{weight} kg"))));
    println!("driver:   {}", said(delivery.driver));
    Ok(())
}
