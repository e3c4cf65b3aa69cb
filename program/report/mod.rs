//! The only room that prints: text for people, JSON and other files for programs.

pub mod ab;
mod bar;
pub mod base;
pub mod compare;
mod compare_details;
mod compare_document;
mod compare_table;
pub mod csv;
pub mod diff;
mod diff_formats;
pub mod doctor;
pub mod echo;
mod hdr_encoding;
pub mod hdr_log;
pub mod json;
pub mod load;
pub mod load_document;
mod load_text;
pub mod output;
pub mod pcap;
mod queues;
pub mod search;
pub mod stress;
pub mod text;
mod verdict;
