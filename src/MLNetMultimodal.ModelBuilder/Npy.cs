using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace MLNetMultimodal.ModelBuilder;

/// <summary>NumPy's file format, version 1.0: magic, the length of a header, the header as a Python dictionary, values.</summary>
static class Npy
{
    const int Alignment = 64;

    /// <summary>Writes rows as float32 [N, E], each as it comes.</summary>
    /// <param name="stream">What is written to; it need not be seekable.</param>
    /// <param name="count">N.</param>
    /// <param name="width">E.</param>
    /// <param name="rows">N rows of E values; each is used before the next is asked for.</param>
    public static void Write(Stream stream, int count, int width, IEnumerable<ReadOnlyMemory<float>> rows)
    {
        ReadOnlySpan<byte> magic = [0x93, .. "NUMPY"u8, 1, 0];
        string shape = string.Create(CultureInfo.InvariantCulture, $"({count}, {width})");
        string header = $"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}";
        int unpadded = magic.Length + sizeof(ushort) + header.Length + 1;
        int length = header.Length + 1 + (Alignment - unpadded % Alignment) % Alignment;
        stream.Write(magic);
        Span<byte> size = stackalloc byte[sizeof(ushort)];
        BinaryPrimitives.WriteUInt16LittleEndian(size, (ushort)length);
        stream.Write(size);
        stream.Write(Encoding.ASCII.GetBytes(header.PadRight(length - 1) + "\n"));
        foreach (ReadOnlyMemory<float> row in rows) stream.Write(MemoryMarshal.AsBytes(row.Span));
    }
}
