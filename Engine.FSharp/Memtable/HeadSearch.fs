namespace LsmFs.Engine

open System
open System.Numerics
open System.Runtime.CompilerServices
open System.Runtime.Intrinsics

/// Searching the heads of a node's keys (`KeyHead`, after the prefix that the keys share), many at once, with the widest vectors the
/// processor has. Different keys can have the same head, so equal heads call for comparing the keys.
[<RequireQualifiedAccess>]
module internal HeadSearch =

    let inline private lowBits (count: int) (mask: uint64) : uint64 =
        if count < 64 then
            mask &&& ((1UL <<< count) - 1UL)
        else
            mask

    /// `equalMask` with vectors of 8 heads.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    let equalMask512 (heads: byref<uint64>) (count: int) (value: uint64) : uint64 =
        let wanted = Vector512.Create value
        let mutable mask = 0UL
        let mutable index = 0

        while index < count do
            let found = Vector512.Equals(Vector512.LoadUnsafe(&heads, unativeint index), wanted)
            mask <- mask ||| (Vector512.ExtractMostSignificantBits found <<< index)
            index <- index + 8

        lowBits count mask

    /// `equalMask` with vectors of 4 heads.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    let equalMask256 (heads: byref<uint64>) (count: int) (value: uint64) : uint64 =
        let wanted = Vector256.Create value
        let mutable mask = 0UL
        let mutable index = 0

        while index < count do
            let found = Vector256.Equals(Vector256.LoadUnsafe(&heads, unativeint index), wanted)
            mask <- mask ||| (uint64 (Vector256.ExtractMostSignificantBits found) <<< index)
            index <- index + 4

        lowBits count mask

    /// `equalMask` with vectors of 2 heads.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    let equalMask128 (heads: byref<uint64>) (count: int) (value: uint64) : uint64 =
        let wanted = Vector128.Create value
        let mutable mask = 0UL
        let mutable index = 0

        while index < count do
            let found = Vector128.Equals(Vector128.LoadUnsafe(&heads, unativeint index), wanted)
            mask <- mask ||| (uint64 (Vector128.ExtractMostSignificantBits found) <<< index)
            index <- index + 2

        lowBits count mask

    /// `equalMask` one head at a time.
    let equalMaskScalar (heads: byref<uint64>) (count: int) (value: uint64) : uint64 =
        let mutable mask = 0UL

        for index in 0 .. count - 1 do
            if Unsafe.Add(&heads, index) = value then
                mask <- mask ||| (1UL <<< index)

        mask

    /// Bit i is set when heads[i] = value, for i below `count` (at most 64). Reads up to the next multiple of 8 heads.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    let equalMask (heads: byref<uint64>) (count: int) (value: uint64) : uint64 =
        if Vector512.IsHardwareAccelerated then
            equalMask512 &heads count value
        elif Vector256.IsHardwareAccelerated then
            equalMask256 &heads count value
        elif Vector128.IsHardwareAccelerated then
            equalMask128 &heads count value
        else
            equalMaskScalar &heads count value

    /// `rank` with vectors of 8 heads.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    let rank512 (heads: byref<uint64>) (capacity: int) (value: uint64) : int =
        let bound = Vector512.Create value
        let mutable rank = 0
        let mutable index = 0

        while index < capacity do
            let smaller = Vector512.LessThan(Vector512.LoadUnsafe(&heads, unativeint index), bound)
            rank <- rank + BitOperations.PopCount(Vector512.ExtractMostSignificantBits smaller)
            index <- index + 8

        rank

    /// `rank` with vectors of 4 heads.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    let rank256 (heads: byref<uint64>) (capacity: int) (value: uint64) : int =
        let bound = Vector256.Create value
        let mutable rank = 0
        let mutable index = 0

        while index < capacity do
            let smaller = Vector256.LessThan(Vector256.LoadUnsafe(&heads, unativeint index), bound)
            rank <- rank + BitOperations.PopCount(Vector256.ExtractMostSignificantBits smaller)
            index <- index + 4

        rank

    /// `rank` with vectors of 2 heads.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    let rank128 (heads: byref<uint64>) (capacity: int) (value: uint64) : int =
        let bound = Vector128.Create value
        let mutable rank = 0
        let mutable index = 0

        while index < capacity do
            let smaller = Vector128.LessThan(Vector128.LoadUnsafe(&heads, unativeint index), bound)
            rank <- rank + BitOperations.PopCount(Vector128.ExtractMostSignificantBits smaller)
            index <- index + 2

        rank

    /// `rank` one head at a time.
    let rankScalar (heads: byref<uint64>) (capacity: int) (value: uint64) : int =
        let mutable rank = 0

        while rank < capacity && Unsafe.Add(&heads, rank) < value do
            rank <- rank + 1

        rank

    /// How many of the first `capacity` (a multiple of 8) heads are smaller than the value. The heads ascend; unused ones are the largest there is.
    [<MethodImpl(MethodImplOptions.AggressiveInlining)>]
    let rank (heads: byref<uint64>) (capacity: int) (value: uint64) : int =
        if Vector512.IsHardwareAccelerated then
            rank512 &heads capacity value
        elif Vector256.IsHardwareAccelerated then
            rank256 &heads capacity value
        elif Vector128.IsHardwareAccelerated then
            rank128 &heads capacity value
        else
            rankScalar &heads capacity value
