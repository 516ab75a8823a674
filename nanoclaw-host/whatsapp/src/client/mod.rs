//! Our side of WhatsApp: what people write (`receive`, `behind`, `meaning`, `names`), what goes out (`send`), files either way (`http`), and
//! the connection with all that can become of it (`session`, over `transport`).

pub mod behind;
pub mod http;
pub mod meaning;
pub mod names;
pub mod receive;
pub mod send;
pub mod session;
mod transport;
