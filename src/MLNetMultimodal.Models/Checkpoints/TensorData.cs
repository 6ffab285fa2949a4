using System.Numerics.Tensors;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;

namespace MLNetMultimodal.Models.Checkpoints;

/// <summary>Element types of a checkpoint, under their safetensors names.</summary>
public enum DType
{
    /// <summary>32-bit float.</summary>
    F32,

    /// <summary>64-bit float.</summary>
    F64,

    /// <summary>IEEE half.</summary>
    F16,

    /// <summary>The upper half of a 32-bit float.</summary>
    BF16,

    /// <summary>Signed 8-bit integer.</summary>
    I8,

    /// <summary>Signed 16-bit integer.</summary>
    I16,

    /// <summary>Signed 32-bit integer.</summary>
    I32,

    /// <summary>Signed 64-bit integer.</summary>
    I64,

    /// <summary>Unsigned 8-bit integer.</summary>
    U8,

    /// <summary>Boolean, one byte.</summary>
    BOOL,
}

/// <summary>A tensor of a checkpoint: little-endian bytes in row-major order, often a window into a memory-mapped file.</summary>
public sealed class TensorData
{
    /// <summary>A tensor over bytes that the caller keeps alive and unchanged.</summary>
    /// <param name="type">Element type.</param>
    /// <param name="shape">Sizes; empty for a scalar.</param>
    /// <param name="bytes">Exactly the elements' bytes.</param>
    /// <exception cref="ArgumentException">The number of bytes does not fit type and shape.</exception>
    public TensorData(DType type, IReadOnlyList<long> shape, ReadOnlyMemory<byte> bytes)
    {
        (Type, Shape, Bytes) = (type, shape, bytes);
        if (bytes.Length != Count * SizeOf(type))
            throw new ArgumentException($"{type} [{string.Join(", ", shape)}] takes {Count * SizeOf(type)} bytes, but {bytes.Length} were given.", nameof(bytes));
    }

    /// <summary>Element type.</summary>
    public DType Type { get; }

    /// <summary>Sizes; empty for a scalar.</summary>
    public IReadOnlyList<long> Shape { get; }

    /// <summary>The elements, little-endian, row-major.</summary>
    public ReadOnlyMemory<byte> Bytes { get; }

    /// <summary>Where the elements lie in a file on disk, for who maps the file himself. False for a tensor in memory, and for one
    /// whose file was replaced or changed since it was opened.</summary>
    /// <param name="path">The file, links followed.</param>
    /// <param name="offset">The first byte of the elements in it.</param>
    public bool TryGetFile([NotNullWhen(true)] out string? path, out long offset)
    {
        (path, offset) = (null, 0);
        if (!MemoryMarshal.TryGetMemoryManager(Bytes, out MappedFile.Window? window, out int start, out _)) return false;
        if (!window.File.IsOnDisk) return false;
        (path, offset) = (window.File.Path, window.Offset + start);
        return true;
    }

    /// <summary>Number of elements.</summary>
    public long Count => Shape.Aggregate(1L, (n, d) => checked(n * d));

    /// <summary>A float tensor; the values are copied.</summary>
    public static TensorData From(ReadOnlySpan<float> values, params IReadOnlyList<long> shape) =>
        new(DType.F32, shape, MemoryMarshal.AsBytes(values).ToArray());

    /// <summary>An integer tensor; the values are copied.</summary>
    public static TensorData From(ReadOnlySpan<long> values, params IReadOnlyList<long> shape) =>
        new(DType.I64, shape, MemoryMarshal.AsBytes(values).ToArray());

    /// <summary>Bytes of one element.</summary>
    public static int SizeOf(DType type) => type switch
    {
        DType.F64 or DType.I64 => 8,
        DType.F32 or DType.I32 => 4,
        DType.F16 or DType.BF16 or DType.I16 => 2,
        _ => 1,
    };

    /// <summary>The elements as 32-bit floats; floating types and I8 only.</summary>
    /// <exception cref="NotSupportedException">The tensor holds wider integers or booleans.</exception>
    public float[] ToSingles()
    {
        var result = new float[Count];
        CopyTo(result);
        return result;
    }

    /// <summary>Writes the elements as 32-bit floats; floating types and I8 only.</summary>
    /// <param name="destination">At least <see cref="Count"/> floats.</param>
    /// <exception cref="NotSupportedException">The tensor holds wider integers or booleans.</exception>
    public void CopyTo(Span<float> destination)
    {
        ReadOnlySpan<byte> bytes = Bytes.Span;
        switch (Type)
        {
            case DType.F32: MemoryMarshal.Cast<byte, float>(bytes).CopyTo(destination); break;
            case DType.F64: TensorPrimitives.ConvertTruncating(MemoryMarshal.Cast<byte, double>(bytes), destination); break;
            case DType.F16: TensorPrimitives.ConvertToSingle(MemoryMarshal.Cast<byte, Half>(bytes), destination); break;
            case DType.BF16:
                ReadOnlySpan<ushort> halves = MemoryMarshal.Cast<byte, ushort>(bytes);
                for (int i = 0; i < halves.Length; i++) destination[i] = BitConverter.UInt32BitsToSingle((uint)halves[i] << 16);
                break;
            case DType.I8: TensorPrimitives.ConvertTruncating(MemoryMarshal.Cast<byte, sbyte>(bytes), destination); break;
            default: throw new NotSupportedException($"a tensor of {Type} is not a float tensor.");
        }
    }

    /// <summary>The elements as 64-bit integers; integer and boolean types only.</summary>
    /// <exception cref="NotSupportedException">The tensor holds floats.</exception>
    public long[] ToInt64s()
    {
        ReadOnlySpan<byte> bytes = Bytes.Span;
        var result = new long[Count];
        switch (Type)
        {
            case DType.I64: MemoryMarshal.Cast<byte, long>(bytes).CopyTo(result); break;
            case DType.I32: TensorPrimitives.ConvertTruncating(MemoryMarshal.Cast<byte, int>(bytes), result); break;
            case DType.I16: TensorPrimitives.ConvertTruncating(MemoryMarshal.Cast<byte, short>(bytes), result); break;
            case DType.I8: TensorPrimitives.ConvertTruncating(MemoryMarshal.Cast<byte, sbyte>(bytes), result); break;
            case DType.U8 or DType.BOOL: TensorPrimitives.ConvertTruncating(bytes, result); break;
            default: throw new NotSupportedException($"a tensor of {Type} is not an integer tensor.");
        }
        return result;
    }
}
