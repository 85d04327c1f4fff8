/// Generators of tables, versions and edits.
module LsmFs.Engine.Tests.ManifestGenerators

open FsCheck
open FsCheck.FSharp
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators

/// What a manifest knows of a table with this number and key range.
let tableOf (number: uint64) (smallest: byte[]) (largest: byte[]) (sizeBytes: int64) : TableMeta = {
    Number = FileNumber number
    SizeBytes = sizeBytes
    Properties = {
        EntryCount = 10L + sizeBytes / 100L
        TombstoneCount = sizeBytes / 1000L
        KeyBytes = sizeBytes / 10L
        ValueBytes = sizeBytes / 2L
        SmallestKey = smallest
        LargestKey = largest
        SmallestSequence = SequenceNumber 0UL
        LargestSequence = SequenceNumber number
        EarliestExpirySeconds = uint32 number
        LatestExpirySeconds = 0u
    }
}

/// Two keys in the store's order; F# compares arrays by length first.
let ordered (left: byte[]) (right: byte[]) : byte[] * byte[] =
    if Version.compareKeys left right <= 0 then
        left, right
    else
        right, left

let private optional (generator: Gen<'value>) : Gen<'value voption> =
    Gen.oneof [ Gen.constant ValueNone; Gen.map ValueSome generator ]

let private bigNumber: Gen<uint64> = Gen.elements [ 0UL; 1UL; 42UL; System.UInt64.MaxValue ]

let private tableGen: Gen<TableMeta> =
    gen {
        let! number = bigNumber
        let! left = keyGen
        let! right = keyGen
        let! size = Gen.elements [ 0L; 4096L; System.Int64.MaxValue ]
        let smallest, largest = ordered left right
        return tableOf number smallest largest size
    }

/// Any edit, whether it fits a version or not.
let editGen: Gen<VersionEdit> =
    gen {
        let level = Gen.choose (0, 6)
        let! oldestLog = optional (Gen.map FileNumber bigNumber)
        let! nextFile = optional (Gen.map FileNumber bigNumber)
        let! lastSequence = optional (Gen.map SequenceNumber bigNumber)
        let! through = Gen.map SequenceNumber bigNumber
        let! pending = Gen.elements [ 0u; 1u; 0xFFFFFFFFu ]

        let! flush = optional (Gen.constant { Through = through; PendingAtSeconds = pending })

        let! removed =
            Gen.frequency [ 3, Gen.constant []; 1, Gen.listOf (Gen.zip level (Gen.map FileNumber bigNumber)) ]

        let! added = Gen.listOf (Gen.zip level tableGen)

        return {
            OldestLog = oldestLog
            NextFile = nextFile
            LastSequence = lastSequence
            Flush = flush
            Removed = removed
            Added = added
        }
    }

/// An edit as FsCheck finds it.
type Edit = Edit of VersionEdit

type ManifestArbitraries =
    static member Edit() = Arb.fromGen (Gen.map Edit editGen)

/// A property of so many cases over edits.
let editPropertyOf (count: int) (name: string) (body: 'input -> 'result) =
    let config = config count

    Expecto.ExpectoFsCheck.testPropertyWithConfig
        { config with arbitrary = typeof<ManifestArbitraries> :: config.arbitrary }
        name
        body

/// A property of 200 cases over edits.
let editProperty (name: string) (body: 'input -> 'result) = editPropertyOf 200 name body

/// What compaction owes, with what levels hold beyond their share as a multiple of what is in order.
let debtOf (levelZeroCount: int) (excess: float) : CompactionDebt = {
    LevelZeroCount = levelZeroCount
    ExcessBytes = excess * 1e6
    ExcessAllowedBytes = 1e6
}
