//! CSV files (RFC 4180): one header row, one row an interval.
//!
//! Every row is one write that ends with a line feed, so the file is complete whenever the program
//! ends. Lines end with a line feed alone, as Unix tools write them.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::sys::failure::failed;

/// A CSV file in the making.
#[derive(Debug)]
pub struct CsvFile {
    file: File,
    path: PathBuf,
    columns: usize,
}

impl CsvFile {
    /// Creates the file, or empties it, and writes the header row. Call it before the run, so that a
    /// bad path fails early. Columns say their units.
    pub fn create(path: &Path, header: &[&str]) -> Result<CsvFile> {
        let file = File::create(path).map_err(|error| {
            failed(format!("create {}", path.display()), &error, "nothing was run")
        })?;
        let mut csv = CsvFile { file, path: path.to_owned(), columns: header.len() };
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
        let written = self.file.write_all(row(fields).as_bytes());
        written.map_err(|error: io::Error| {
            failed(format!("write to {}", self.path.display()), &error, "")
        })
    }
}

fn row(fields: &[&dyn Display]) -> String {
    let fields: Vec<String> = fields.iter().map(|field| quoted(field.to_string())).collect();
    let mut row = fields.join(",");
    row.push('\n');
    row
}

/// The field, in double quotes if it needs them. An empty row of one column needs them as well, or
/// readers would skip it.
fn quoted(field: String) -> String {
    if field.is_empty() || field.contains([',', '"', '\n', '\r']) {
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
        assert_eq!(row(&[&""]), "\"\"\n");
    }

    #[test]
    fn a_file_is_complete_after_each_row() {
        let path = std::env::temp_dir().join(format!("linerate-{}.csv", std::process::id()));
        let mut csv = CsvFile::create(&path, &["time_s", "sent"]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "time_s,sent\n");
        csv.write_row(&[&0.5, &1000u64]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "time_s,sent\n0.5,1000\n");
        std::fs::remove_file(&path).unwrap();
        let error = CsvFile::create(Path::new("/no/such/folder/x.csv"), &["a"]).unwrap_err();
        assert!(error.to_string().contains("ENOENT"), "{error}");
    }
}
