//! The places where frames go.

/// Where a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The generator, before the kernel has the frame.
    Generator,
    /// The queue discipline of the generator's interface.
    GeneratorQueue,
    /// The generator's interface, sending.
    GeneratorTransmit,
    /// The interface of the device under test, receiving.
    DeviceReceive,
    /// The backlog of a CPU that received for the device under test.
    DeviceSoftnet,
    /// The engine's receive ring or socket.
    EngineRing,
    /// The engine.
    Engine,
    /// What lies beyond the counters within reach: the device under test, the wire.
    BeyondSight,
    /// The queue discipline of the interface of the device under test.
    DeviceQueue,
    /// The interface of the device under test, sending.
    DeviceTransmit,
    /// The generator's interface, receiving.
    GeneratorReceive,
    /// The backlog of a CPU that received for the generator.
    GeneratorSoftnet,
    /// The generator's receive ring or socket.
    GeneratorRing,
    /// The verifier.
    Verifier,
}

/// One place where frames went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Stage {
    /// Where.
    pub layer: Layer,
    /// What happened to them there; [`Stage::UNEXPLAINED`] where no counter says.
    pub name: &'static str,
    /// Frames of the run that this stage took; only unexplained ones may be negative.
    pub frames: i128,
    /// What its counter says, which may include foreign frames or frames that arrived; `None` for
    /// stages without a counter.
    pub counted: Option<u64>,
    /// Frames of the run that are left after it.
    pub left: i128,
}

impl Stage {
    /// The name of a stage that no counter explains.
    pub const UNEXPLAINED: &'static str = "unexplained";

    /// Whether it is a remainder that no counter explains.
    pub fn is_unexplained(&self) -> bool {
        self.name == Stage::UNEXPLAINED
    }
}
