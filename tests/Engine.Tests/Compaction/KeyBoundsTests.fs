module LsmFs.Engine.Tests.KeyBoundsTests

open System
open Expecto
open LsmFs.Engine
open LsmFs.Engine.Tests.Generators

let private isWithin (bounds: KeyBounds) (key: byte[]) : bool =
    (match bounds.From with
     | ValueSome from -> Version.compareKeys key from >= 0
     | ValueNone -> true)
    && (match bounds.Until with
        | ValueSome until -> Version.compareKeys key until < 0
        | ValueNone -> true)

[<Tests>]
let tests =
    testList "KeyBounds" [
        property "the bounds of a prefix hold the keys that begin with it and no others" (fun (Key prefix) (Key key) ->
            for key in [ key; prefix; Array.append prefix key ] do
                Expect.equal
                    (isWithin (KeyBounds.ofPrefix prefix) key)
                    ((span key).StartsWith(span prefix))
                    $"%A{key} within %A{prefix}")

        test "no prefix bounds nothing" {
            let bounds = KeyBounds.ofPrefix [||]
            Expect.isTrue (bounds.From.IsNone && bounds.Until.IsNone) "all keys"
        }

        test "an empty key is no bound" {
            let bounds = KeyBounds.between [||] [||]
            Expect.isTrue (bounds.From.IsNone && bounds.Until.IsNone) "all keys"
        }
    ]
