//! Only the tests are of interest; Cargo asks for one more target before they are copied in.
