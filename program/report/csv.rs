//! CSV files (RFC 4180): one header row, one row an interval.
//!
//! Every row is one write that ends with a line feed, so the file is complete whenever the program
//! ends. Lines end with a line feed alone, as Unix tools write them.

use std::fmt::Display;
use std::path::Path;

use super::output::Output;
use crate::error::Result;

/// A CSV file in the making.
#[derive(Debug)]
pub struct CsvFile {
    output: Output,
    columns: usize,
}

impl CsvFile {
    /// Opens the file, as [`Output::create`] says, and writes the header row. Columns say their units.
    pub fn create(path: &Path, header: &[&str]) -> Result<CsvFile> {
        let mut csv = CsvFile { output: Output::create(path)?, columns: header.len() };
        let header: Vec<&dyn Display> = header.iter().map(|name| name as &dyn Display).collect();
        csv.write_row(&header)?;
        Ok(csv)
    }

    /// Writes one row, whose fields are those of the header.
    ///
    /// # Panics
    ///
    /// With fewer or more fields than the header has.
    pub fn write_row(&mut self, fields: &[&dyn Display]) -> Result<()> {
        assert_eq!(fields.len(), self.columns, "a row has as many fields as the header");
        self.output.append(row(fields).as_bytes())
    }

    /// Puts the file in its place.
    pub fn publish(&mut self) -> Result<()> {
        self.output.publish()
    }
}

/// A row with its line feed.
pub(super) fn row(fields: &[&dyn Display]) -> String {
    let fields: Vec<String> = fields.iter().map(|field| quoted(field.to_string())).collect();
    // An empty row of one column needs quotes, or readers would skip it.
    let row = if fields == [""] { "\"\"".into() } else { fields.join(",") };
    row + "\n"
}

/// The field, in double quotes if it needs them.
fn quoted(field: String) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_a_row_is_quoted() {
        let fields: [&dyn Display; 5] = [&1.5, &"plain text", &"a,b", &"say \"x\"", &"two\nlines"];
        let expected = "1.5,plain text,\"a,b\",\"say \"\"x\"\"\",\"two\nlines\"\n";
        assert_eq!(row(&fields), expected);
        assert_eq!((row(&[&""]), row(&[&1, &"", &2])), ("\"\"\n".into(), "1,,2\n".into()));
    }
}
