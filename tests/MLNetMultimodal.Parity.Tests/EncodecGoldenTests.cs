using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Parity.Tests;

public sealed class EncodecGoldenTests
{
    static readonly string[] WholeOutputs = ["latent", "codes", "quantized", "decoded", "reconstruction"];

    readonly Golden _golden = new("encodec");

    public static TheoryData<string, string> EnginesAndWeights
    {
        get
        {
            var data = new TheoryData<string, string>();
            foreach (string engine in Engines.All)
                foreach (string weights in (string[])["model.safetensors", "original_state_dict.safetensors"]) data.Add(engine, weights);
            return data;
        }
    }

    (EncodecModel Model, IReadOnlyDictionary<string, TensorData> Weights) Load(string file)
    {
        var model = new EncodecModel(EncodecConfig.FromJson(_golden.Config));
        return (model, CheckpointWeights.For(model, _golden.Read(file), file));
    }

    [Theory, MemberData(nameof(EnginesAndWeights))]
    public void Sound_becomes_the_codes_and_the_sound_of_the_reference(string engine, string weightsFile)
    {
        var (model, weights) = Load(weightsFile);
        var got = Engines.Get(engine).Run(model.Full, weights, _golden.Inputs);
        Assert.Equal(WholeOutputs.Order(), got.Keys.Order());
        foreach (string name in WholeOutputs) Compare(name, got[name]);
    }

    [Theory, MemberData(nameof(Engines.Names), MemberType = typeof(Engines))]
    public void Sound_shorter_than_the_padding_is_coded_as_in_the_reference(string engine)
    {
        var (model, weights) = Load("model.safetensors");
        var inputs = new Dictionary<string, TensorData> { ["waveform"] = _golden.Inputs["short_waveform"] };
        var got = Engines.Get(engine).Run(model.Full, weights, inputs);
        foreach (string name in (string[])["latent", "codes", "decoded"]) Compare($"short.{name}", got[name]);
    }

    [Theory, MemberData(nameof(Engines.Names), MemberType = typeof(Engines))]
    public void Fewer_codebooks_give_the_sound_of_a_lower_bit_rate(string engine)
    {
        var (model, weights) = Load("model.safetensors");
        TensorData codes = _golden.Outputs["low_bandwidth.codes"];
        int codebooks = model.Config.CodebooksAt(model.Config.BandwidthsKbps[1]);
        Assert.Equal(codes.Shape[1], codebooks);
        var got = Engines.Get(engine).Run(model.Decoder(codebooks), weights, new Dictionary<string, TensorData> { ["audio_codes"] = codes });
        TensorData expected = _golden.Outputs["low_bandwidth.reconstruction"];
        float[] decoded = got["audio_values"].ToSingles();
        int samples = (int)expected.Shape[2], length = decoded.Length / (int)expected.Shape[0];
        float[] cut = [.. decoded.Chunk(length).SelectMany(c => c[..samples])];
        _golden.Compare("low_bandwidth.reconstruction", TensorData.From(cut, [.. expected.Shape]));
    }

    [Theory, MemberData(nameof(Engines.Names), MemberType = typeof(Engines))]
    public void Encoder_and_decoder_are_the_halves_of_the_whole(string engine)
    {
        var (model, weights) = Load("model.safetensors");
        var codes = Engines.Get(engine).Run(model.Encoder, weights, new Dictionary<string, TensorData> { ["input_values"] = _golden.Inputs["waveform"] });
        Compare("codes", codes["audio_codes"]);
        var sound = Engines.Get(engine).Run(model.Decoder(model.Config.Codebooks), weights, codes);
        Compare("decoded", sound["audio_values"]);
    }

    /// <summary>Codes must be equal, numbers within the case's tolerance.</summary>
    void Compare(string name, TensorData got)
    {
        if (_golden.Outputs[name].Type == DType.I64) Assert.Equal(_golden.Outputs[name].ToInt64s(), got.ToInt64s());
        else _golden.Compare(name, got);
    }

    [Fact]
    public void A_written_config_reads_as_the_same()
    {
        EncodecConfig config = EncodecConfig.FromJson(_golden.Config);
        using var json = System.Text.Json.JsonDocument.Parse(config.ToJson());
        Assert.Equal(config.ToJson(), EncodecConfig.FromJson(json.RootElement).ToJson());
    }
}
