/// The generators that all properties share. The key alphabet is small so that keys collide, share prefixes and nest.
module LsmFs.Engine.Tests.Generators

open System
open Expecto
open FsCheck
open FsCheck.FSharp
open LsmFs.Engine

/// The bytes as the engine's functions take them.
let inline span (bytes: byte[]) : ReadOnlySpan<byte> = ReadOnlySpan<byte> bytes

/// A key: 1 to 12 bytes of a small alphabet that has both ends of the byte range in it.
type Key = Key of byte[]

/// A value: empty, short, or up to a few blocks long.
type Value = Value of byte[]

/// A write to a store: a value, or a tombstone.
type Write = {
    WriteKey: byte[]
    /// `ValueNone` deletes.
    WriteValue: byte[] voption
    WriteFlags: uint32
    WriteExpirySeconds: uint32
    WriteCas: uint64
    WriteMarks: EntryMarks
}

/// A value with nothing beside its key.
let plainWrite (key: byte[]) (value: byte[]) : Write = {
    WriteKey = key
    WriteValue = ValueSome value
    WriteFlags = 0u
    WriteExpirySeconds = 0u
    WriteCas = 0UL
    WriteMarks = EntryMarks.None
}

let private alphabet = [ 0uy; byte 'a'; byte 'b'; byte 'c'; 255uy ]

let keyGen: Gen<byte[]> =
    Gen.frequency [
        8, Gen.choose (1, 4)
        2, Gen.choose (5, 12)
        // Long shared prefixes, and keys longer than any head that an index compares first.
        1, Gen.choose (20, 250)
    ]
    |> Gen.bind (fun length -> Gen.arrayOfLength length (Gen.elements alphabet))

let valueGen: Gen<byte[]> =
    Gen.frequency [ 2, Gen.constant 0; 12, Gen.choose (1, 40); 2, Gen.choose (100, 2000); 1, Gen.choose (4000, 9000) ]
    |> Gen.bind (fun length -> Gen.arrayOfLength length (Gen.choose (0, 255) |> Gen.map byte))

let writeGen: Gen<Write> =
    gen {
        let! key = keyGen
        let! value = Gen.frequency [ 1, Gen.constant ValueNone; 4, Gen.map ValueSome valueGen ]
        let! flags = Gen.elements [ 0u; 0u; 1u; 0xFFFFFFFFu ]
        let! expiry = Gen.elements [ 0u; 0u; 1u; 1_000_000u; 0xFFFFFFFFu ]
        let! cas = Gen.elements [ 0UL; 0UL; 1UL; UInt64.MaxValue ]

        let! marks =
            Gen.elements [
                EntryMarks.None
                EntryMarks.None
                EntryMarks.Stale
                EntryMarks.Stale ||| EntryMarks.WinSent
                EntryMarks.WinSent ||| EntryMarks.BinaryKey
            ]

        return {
            WriteKey = key
            WriteValue = value
            WriteFlags = flags
            WriteExpirySeconds = expiry
            WriteCas = cas
            WriteMarks = marks
        }
    }

/// The header of a write that gets this sequence number.
let headerOf (sequence: uint64) (write: Write) : EntryHeader = {
    Kind =
        (if write.WriteValue.IsSome then
             EntryKind.Value
         else
             EntryKind.Tombstone)
    Sequence = SequenceNumber sequence
    Flags = write.WriteFlags
    ExpirySeconds = write.WriteExpirySeconds
    Cas = write.WriteCas
    Marks = write.WriteMarks
}

/// A write as an encoded entry.
let encode (sequence: uint64) (write: Write) : byte[] =
    let buffer = ByteBuffer 64
    let value = write.WriteValue |> ValueOption.defaultValue [||]
    EntryFormat.append buffer (headerOf sequence write) (span write.WriteKey) (span value) |> ignore
    buffer.ToArray()

/// The generators as FsCheck finds them by type.
type Arbitraries =
    static member Key() = Arb.fromGen (Gen.map Key keyGen)
    static member Value() = Arb.fromGen (Gen.map Value valueGen)
    static member Write() = Arb.fromGen writeGen

/// The configuration of every property: the shared generators, and `count` cases.
let config (count: int) : FsCheckConfig = {
    FsCheckConfig.defaultConfig with
        maxTest = count
        arbitrary = [ typeof<Arbitraries> ]
}

/// A property of 200 cases over the shared generators.
let property (name: string) (body: 'input -> 'result) : Test = testPropertyWithConfig (config 200) name body

/// A property with its own number of cases.
let propertyOf (count: int) (name: string) (body: 'input -> 'result) : Test =
    testPropertyWithConfig (config count) name body
