//! The client library, against the fake of WhatsApp.
