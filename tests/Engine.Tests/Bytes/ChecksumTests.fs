module LsmFs.Engine.Tests.ChecksumTests

open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators

[<Tests>]
let tests =
    testList "Checksum" [
        test "matches the vectors of RFC 3720 B.4" {
            Expect.equal (Checksum.compute (span (Array.zeroCreate 32))) 0x8A9136AAu "32 zero bytes"
            Expect.equal (Checksum.compute (span (Array.create 32 0xFFuy))) 0x62A8AB43u "32 bytes of ones"
            Expect.equal (Checksum.compute (span [| 0uy .. 31uy |])) 0x46DD794Eu "0 to 31 ascending"
            Expect.equal (Checksum.compute (span "123456789"B)) 0xE3069283u "the check string"
        }

        property "a checksum can be continued" (fun (Value left) (Value right) ->
            Checksum.extend (Checksum.compute (span left)) (span right) =
                Checksum.compute (span (Array.append left right)))
    ]
