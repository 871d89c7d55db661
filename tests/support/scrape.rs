//! Scraping an agent as Prometheus does.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// The series of a page, and their numbers as they are written.
pub(crate) type Series = BTreeMap<String, String>;

/// What is answered to these bytes.
pub(crate) fn answer(address: SocketAddr, request: &str) -> String {
    let mut client = TcpStream::connect(address).expect("it listens");
    client.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The series of a scrape.
pub(crate) fn scrape(address: SocketAddr) -> Series {
    scrape_in_time(address).expect("an answer in time")
}

/// The same; nothing when the agent was too busy to answer within the two seconds that a client has.
pub(crate) fn scrape_in_time(address: SocketAddr) -> Option<Series> {
    let answer = answer(address, "GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
    let (head, page) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(page.ends_with("# EOF\n"), "the page is whole");
    let series = page.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, value) = line.rsplit_once(' ').expect("a number");
        (name.to_owned(), value.to_owned())
    });
    Some(series.collect())
}
