/// What memtables are compared with: immutable maps from key to encoded entry, and the batches that both are fed.
module LsmFs.Engine.Tests.MemtableModel

open System
open Expecto
open FsCheck
open FsCheck.FSharp
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators

/// Keys as hexadecimal text, which orders as the bytes do; entries as their bytes.
type Model = Map<string, byte[]>

/// A version of a memtable and what it must always show.
type Versioned = { Memtable: Memtable; Model: Model }

type Outcome =
    | Commits
    | Abandons

/// A batch on one of the versions there are.
type Batch = {
    /// Versions to go back from the newest one, modulo their number.
    StepsBack: int
    Puts: Write list
    Outcome: Outcome
}

/// A history of batches, a tree of versions.
type History = History of Batch list

/// Keys that crowd into a few leaves, keys that spread over many, empty and long ones, and those that heads cannot tell apart.
let treeKeyGen: Gen<byte[]> =
    Gen.frequency [
        4, keyGen
        8,
        Gen.choose (0, 2000)
        |> Gen.map (fun number -> Text.Encoding.ASCII.GetBytes $"user:%d{number}:profile")
        4, Gen.choose (0, 65535) |> Gen.map (fun number -> [| byte (number >>> 8); byte number |])
        2, Gen.choose (0, 20) |> Gen.map (fun length -> Array.append "a"B (Array.zeroCreate length))
        1, Gen.choose (0, 20) |> Gen.map (fun length -> Array.create length 255uy)
        1, Gen.choose (0, 3) |> Gen.map (fun last -> Array.append (Array.zeroCreate 3000) [| byte last |])
    ]

let private valueGen: Gen<byte[]> =
    Gen.frequency [ 30, Gen.choose (0, 40); 2, Gen.choose (1000, 3000); 1, Gen.choose (4000, 9000) ]
    |> Gen.map (fun length -> Array.init length byte)

let private putGen: Gen<Write> =
    gen {
        let! key = treeKeyGen
        let! value = Gen.frequency [ 1, Gen.constant ValueNone; 6, Gen.map ValueSome valueGen ]

        return {
            WriteKey = key
            WriteValue = value
            WriteFlags = 0u
            WriteExpirySeconds = 0u
            WriteCas = 0UL
            WriteMarks = EntryMarks.None
        }
    }

let private batchGen: Gen<Batch> =
    gen {
        let! stepsBack = Gen.frequency [ 6, Gen.constant 0; 3, Gen.choose (1, 30) ]

        let! count =
            Gen.frequency [
                1, Gen.constant 0
                6, Gen.choose (1, 10)
                4, Gen.choose (20, 120)
                1, Gen.choose (200, 600)
            ]

        let! puts = Gen.listOfLength count putGen
        let! outcome = Gen.frequency [ 3, Gen.constant Commits; 1, Gen.constant Abandons ]

        return { StepsBack = stepsBack; Puts = puts; Outcome = outcome }
    }

let historyGen: Gen<History> =
    Gen.choose (1, 30) |> Gen.bind (fun count -> Gen.listOfLength count batchGen) |> Gen.map History

type MemtableArbitraries =
    static member History() = Arb.fromGen historyGen
    static member Batch() = Arb.fromGen batchGen

/// A property over histories as well as the shared generators.
let memtableProperty (count: int) (name: string) (body: 'input -> 'result) : Test =
    let shared = config count

    testPropertyWithConfig { shared with arbitrary = typeof<MemtableArbitraries> :: shared.arbitrary } name body

let hex (key: byte[]) : string = Convert.ToHexString key

/// A pool of small chunks, so that histories cross many of them.
let smallPool () = ChunkPool(4096, 1L <<< 30)

let bytesOf (found: Entry voption) : byte[] voption = found |> ValueOption.map (fun entry -> entry.Bytes.ToArray())

/// Puts a batch into the editor under the sequence numbers that follow, checking after each that the editor shows it, and returns the model with it.
let putAll (editor: MemtableEditor) (last: SequenceNumber) (model: Model) (puts: Write list) : Model =
    let mutable sequence = last
    let mutable model = model

    for put in puts do
        sequence <- sequence.Next
        let bytes = encode sequence.Value put
        editor.Put(span bytes)
        model <- Map.add (hex put.WriteKey) bytes model
        Expect.equal (bytesOf (editor.TryFind(span put.WriteKey))) (ValueSome bytes) "the editor shows what was put"

    model

/// Everything a cursor shows from where it stands.
let remaining (cursor: MemtableCursor) : byte[] list = [
    while cursor.MoveNext() do
        cursor.Current.Bytes.ToArray()
]

/// Fails unless the version shows its model, by every way to look at it.
let expectShowsModel (version: Versioned) : unit =
    let { Memtable = memtable; Model = model } = version
    Expect.equal memtable.IsEmpty model.IsEmpty "empty"
    let shown = remaining (MemtableCursor memtable)
    let wanted = List.map snd (Map.toList model)
    Expect.isTrue ((shown = wanted)) $"the cursor shows %d{shown.Length} of %d{wanted.Length} entries, or others"

    for KeyValue(key, bytes) in model do
        let found = memtable.TryFind(span (Convert.FromHexString key))

        if bytesOf found <> ValueSome bytes then
            failtest $"the key %s{key} shows %A{found}"
