//! The store from the outside, and its files under every fault and crash that a disk may bring.

mod crashes;
mod damage;
mod disk;
mod documented;
mod faults;
mod invitations;
mod model;
mod opening;
mod states;
mod whole;
