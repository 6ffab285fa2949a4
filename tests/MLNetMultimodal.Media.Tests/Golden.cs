using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace MLNetMultimodal.Media.Tests;

// One folder of inputs and expected outputs; MULTIMODAL_GOLDENS puts others of the same kind in the place of the copies here.
sealed class Golden
{
    readonly byte[] _tensors;
    readonly JsonElement _header;
    readonly int _data;

    public Golden(string name)
    {
        Folder = FolderOf(name);
        Case = JsonDocument.Parse(File.ReadAllBytes(PathOf("case.json"))).RootElement;
        _tensors = File.ReadAllBytes(PathOf("io.safetensors"));
        _data = 8 + (int)BinaryPrimitives.ReadInt64LittleEndian(_tensors);
        _header = JsonDocument.Parse(_tensors.AsMemory(8.._data)).RootElement;
    }

    public string Folder { get; }

    public JsonElement Case { get; }

    public static string FolderOf(string name) =>
        Path.Combine(Environment.GetEnvironmentVariable("MULTIMODAL_GOLDENS")
            ?? Path.Combine(AppContext.BaseDirectory, "Goldens"), name);

    public string PathOf(string file) => Path.Combine(Folder, file);

    public float[] Floats(string tensor) => MemoryMarshal.Cast<byte, float>(Bytes(tensor)).ToArray();

    public bool Has(string tensor) => _header.TryGetProperty(tensor, out _);

    public byte[] Bytes(string tensor)
    {
        JsonElement offsets = _header.GetProperty(tensor).GetProperty("data_offsets");
        return _tensors[(_data + offsets[0].GetInt32())..(_data + offsets[1].GetInt32())];
    }
}
