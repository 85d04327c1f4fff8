module LsmFs.Engine.Tests.KeyTextTests

open System.Text
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators

let private tryParse (text: string) : byte[] option =
    let buffer = ByteBuffer 16

    if KeyText.tryParse buffer (span (Encoding.ASCII.GetBytes text)) then
        Some(buffer.ToArray())
    else
        None

[<Tests>]
let tests =
    testList "KeyText" [
        property "a text stands for its key, and has no blank and no line break"
        <| fun (Key key) ->
            let text = KeyText.ofKey key
            Expect.equal (tryParse text) (Some key) text
            Expect.all text (fun character -> character > ' ' && character < '\127' && character <> '#') text

        test "every byte" {
            let key = Array.init 256 byte
            Expect.equal (tryParse (KeyText.ofKey key)) (Some key) "all bytes"
            Expect.equal (KeyText.ofKey (Array.append "user:1 %#"B [| 255uy |])) "user:1%20%25%23%FF" "what is encoded"
        }

        test "what is no text of a key is refused" {
            for text in [ "%"; "%2"; "%zz"; "%2f"; "%41"; "a b"; "#"; "\t"; "a%" ] do
                Expect.isNone (tryParse text) text
        }
    ]
