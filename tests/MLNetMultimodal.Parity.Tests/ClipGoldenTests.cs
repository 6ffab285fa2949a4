using MLNetMultimodal.Inference;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Parity.Tests;

public sealed class ClipGoldenTests
{
    readonly Golden _golden = new("clip");

    public static TheoryData<string, string> EnginesAndWeights
    {
        get
        {
            var data = new TheoryData<string, string>();
            foreach (string engine in Engines.All)
                foreach (string weights in (string[])["model.safetensors", "openai_state_dict.safetensors"]) data.Add(engine, weights);
            return data;
        }
    }

    [Theory, MemberData(nameof(EnginesAndWeights))]
    public void All_outputs_are_those_of_the_reference(string engine, string weightsFile)
    {
        var model = new ClipModel(ClipConfig.FromJson(_golden.Config));
        IReadOnlyDictionary<string, TensorData> weights = CheckpointWeights.For(model, _golden.Read(weightsFile), weightsFile);
        var got = Engines.Get(engine).Run(model.Full, weights, _golden.Inputs);
        Assert.Equal(_golden.Outputs.Keys.Order(), got.Keys.Order());
        foreach (string name in _golden.Outputs.Keys) _golden.Compare(name, got[name]);
    }

    [Theory, InlineData("model.safetensors"), InlineData("openai_state_dict.safetensors")]
    public void A_loaded_folder_gives_the_outputs_of_the_reference(string weightsFile)
    {
        ModelFiles files = ModelFiles.FromMemory(weightsFile, new Dictionary<string, ReadOnlyMemory<byte>>
        {
            ["config.json"] = File.ReadAllBytes(Path.Combine(_golden.Folder, "config.json")),
            ["model.safetensors"] = File.ReadAllBytes(Path.Combine(_golden.Folder, weightsFile)),
        });
        using MultimodalModel model = MultimodalModel.Load(files);
        foreach (var (name, value) in model.Run(_golden.Inputs)) _golden.Compare(name, value);
        foreach (string input in _golden.Inputs.Keys)
        {
            var alone = model.Run(new Dictionary<string, TensorData> { [input] = _golden.Inputs[input] });
            Assert.NotEmpty(alone);
            foreach (var (name, value) in alone) _golden.Compare(name, value);
        }
    }
}
