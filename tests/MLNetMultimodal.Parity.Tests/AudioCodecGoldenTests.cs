using MLNetMultimodal.Inference;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Parity.Tests;

/// <summary>Pieces, loudness and bit rates around the network: what the reference does beside it.</summary>
public sealed class AudioCodecGoldenTests
{
    public static TheoryData<string> Cases => ["encodec", "encodec-stereo"];

    static AudioCodec Load(Golden golden, string file = "model.safetensors") => AudioCodec.Load(ModelFiles.FromMemory(file, new Dictionary<string, ReadOnlyMemory<byte>>
    {
        ["config.json"] = File.ReadAllBytes(Path.Combine(golden.Folder, "config.json")),
        ["model.safetensors"] = File.ReadAllBytes(Path.Combine(golden.Folder, file)),
    }));

    static float[][] Items(TensorData batch) => [.. batch.ToSingles().Chunk(batch.ToSingles().Length / (int)batch.Shape[0])];

    static TensorData Codes(Golden golden, int segment) =>
        golden.Outputs.GetValueOrDefault($"codes.{segment}") ?? golden.Outputs["codes"];

    static long[] Item(TensorData codes, int item) => codes.ToInt64s().Chunk((int)(codes.Shape[1] * codes.Shape[2])).ElementAt(item);

    [Theory, MemberData(nameof(Cases))]
    public void Codes_and_loudness_of_every_piece_are_those_of_the_reference(string name)
    {
        var golden = new Golden(name);
        foreach (string file in (string[])["model.safetensors", "original_state_dict.safetensors"])
        {
            using AudioCodec codec = Load(golden, file);
            float[][] sounds = Items(golden.Inputs["waveform"]);
            for (int item = 0; item < sounds.Length; item++)
            {
                CodedSound coded = codec.Encode(sounds[item]);
                Assert.Equal(Math.Max(1, golden.Outputs.Keys.Count(k => k.StartsWith("codes."))), coded.Segments.Count);
                for (int s = 0; s < coded.Segments.Count; s++)
                {
                    Assert.Equal(Item(Codes(golden, s), item), coded.Segments[s].Codes);
                    float scale = golden.Outputs.TryGetValue($"scale.{s}", out TensorData? scales) ? scales.ToSingles()[item] : 1;
                    Assert.Equal(scale, coded.Segments[s].Scale, 1e-6f);
                }
            }
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void Decoded_sound_is_that_of_the_reference(string name)
    {
        var golden = new Golden(name);
        using AudioCodec codec = Load(golden);
        float[] got = [.. Items(golden.Inputs["waveform"]).SelectMany(sound => codec.Decode(codec.Encode(sound)))];
        golden.Compare("reconstruction", TensorData.From(got, [.. golden.Outputs["reconstruction"].Shape]));
    }

    [Theory, MemberData(nameof(Cases))]
    public void A_lower_bit_rate_gives_what_the_reference_gives(string name)
    {
        var golden = new Golden(name);
        using AudioCodec codec = Load(golden);
        CodedSound[] coded = [.. Items(golden.Inputs["waveform"]).Select(sound => codec.Encode(sound, codec.Config.BandwidthsKbps[1]))];
        for (int item = 0; item < coded.Length; item++)
            Assert.Equal(Item(golden.Outputs["low_bandwidth.codes"], item), coded[item].Segments[0].Codes);
        float[] got = [.. coded.SelectMany(codec.Decode)];
        golden.Compare("low_bandwidth.reconstruction", TensorData.From(got, [.. golden.Outputs["low_bandwidth.reconstruction"].Shape]));
    }

    [Theory, MemberData(nameof(Cases))]
    public void Sound_shorter_than_the_padding_is_coded_as_in_the_reference(string name)
    {
        var golden = new Golden(name);
        using AudioCodec codec = Load(golden);
        float[] sound = golden.Inputs["short_waveform"].ToSingles();
        CodedSound coded = codec.Encode(sound);
        Assert.Equal(golden.Outputs["short.codes"].ToInt64s(), coded.Segments[0].Codes);
        int whole = (int)golden.Outputs["short.decoded"].Shape[2];
        float[] got = codec.Decode(coded with { Samples = whole });
        golden.Compare("short.decoded", TensorData.From(got, [.. golden.Outputs["short.decoded"].Shape]));
    }

    [Fact]
    public void Sounds_and_codes_that_make_no_sense_are_refused()
    {
        var golden = new Golden("encodec-stereo");
        using AudioCodec codec = Load(golden);
        Assert.Contains("2 channels", Assert.Throws<ArgumentException>(() => codec.Encode(new float[3])).Message);
        Assert.Contains("no finite number", Assert.Throws<ArgumentException>(() => codec.Encode([0, float.NaN])).Message);
        Assert.Contains("bit rate", Assert.Throws<ArgumentOutOfRangeException>(() => codec.Encode(new float[2], 100)).Message);
        CodedSound coded = codec.Encode(new float[2 * 900]);
        CodedSound Broken(Func<long[], long[]> codes) => coded with { Segments = [.. coded.Segments.Select(s => s with { Codes = codes(s.Codes) })] };
        Assert.Contains("the code 64", Assert.Throws<ArgumentException>(() => codec.Decode(Broken(c => [.. c[1..], 64]))).Message);
        Assert.Contains("codes of 4 codebooks", Assert.Throws<ArgumentException>(() => codec.Decode(Broken(c => c[1..]))).Message);
        Assert.Contains("do not fit", Assert.Throws<ArgumentException>(() => codec.Decode(coded with { Samples = 5000 })).Message);
        Assert.Contains("no segments", Assert.Throws<ArgumentException>(() => codec.Decode(coded with { Segments = [] })).Message);
    }
}
