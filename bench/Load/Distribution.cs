using System.Numerics;

namespace LsmFs.Load;

/// <summary>SplitMix64 (Steele, Lea and Flood, 2014): one addition and one mix a number, and the same sequence for the same seed.</summary>
public struct Random64(ulong seed)
{
    const ulong Increment = 0x9E3779B97F4A7C15;
    ulong state = seed;

    /// <summary>Mixes 64 bits so that near numbers become unrelated ones.</summary>
    public static ulong Mix(ulong value)
    {
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
        return value ^ (value >> 31);
    }

    public ulong Next() => Mix(state += Increment);

    /// <summary>A number in [0, limit).</summary>
    public uint NextBelow(uint limit) => (uint)Math.BigMul(Next(), limit, out _);

    /// <summary>A number in [0, 1).</summary>
    public double NextUnit() => (Next() >> 11) * (1.0 / (1UL << 53));
}

/// <summary>
/// Ranks with zipfian frequency: rank r is drawn with probability proportional to 1 / (r + 1)^theta, 0 &lt; theta &lt; 1.
/// Gray et al., "Quickly generating billion-record synthetic databases" (SIGMOD 1994), as in YCSB. Built in O(count).
/// </summary>
public sealed class Zipfian
{
    readonly uint count;
    readonly double alpha, eta, zeta, secondRankLimit;

    public Zipfian(uint count, double theta)
    {
        this.count = count;
        for (uint rank = 1; rank <= count; rank++)
        {
            zeta += Math.Pow(rank, -theta);
        }
        alpha = 1 / (1 - theta);
        secondRankLimit = 1 + Math.Pow(2, -theta);
        // With two ranks the continuous part is never reached, and its formula would divide by zero.
        eta = count > 2 ? (1 - Math.Pow(2.0 / count, 1 - theta)) / (1 - (secondRankLimit / zeta)) : 0;
    }

    public uint Next(ref Random64 random)
    {
        var unit = random.NextUnit();
        var scaled = unit * zeta;
        if (scaled < 1 || count == 1)
        {
            return 0;
        }
        if (scaled < secondRankLimit || count == 2)
        {
            return 1;
        }
        return Math.Min((uint)(count * Math.Pow((eta * unit) - eta + 1, alpha)), count - 1);
    }
}

/// <summary>
/// A pseudo-random permutation of [0, count): a Feistel network over the next even power of two, walked until it lands in range.
/// It shuffles any number of keys without holding them, and scatters zipfian ranks over the key space without collisions.
/// </summary>
public sealed class Permutation
{
    const int RoundCount = 4;
    readonly uint count;
    readonly ulong seed;
    readonly int halfBits;
    readonly ulong halfMask;

    public Permutation(uint count, ulong seed)
    {
        this.count = count;
        this.seed = seed;
        var bits = 64 - BitOperations.LeadingZeroCount((ulong)Math.Max(count, 2) - 1);
        halfBits = (bits + 1) / 2;
        halfMask = (1UL << halfBits) - 1;
    }

    public uint At(uint ordinal)
    {
        ulong value = ordinal;
        do
        {
            ulong left = value >> halfBits, right = value & halfMask;
            for (uint round = 0; round < RoundCount; round++)
            {
                (left, right) = (right, left ^ (Random64.Mix(right + seed + (round * 0x9E3779B97F4A7C15)) & halfMask));
            }
            value = (left << halfBits) | right;
        }
        while (value >= count);
        return (uint)value;
    }
}
