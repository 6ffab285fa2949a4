using System.CommandLine;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Training;

namespace MLNetMultimodal.ModelBuilder.Commands;

/// <summary>Which weights <c>finetune</c> trains.</summary>
sealed class FineTuneOptions
{
    const string Everything = "everything", Heads = "heads", Text = "text", Image = "image", Adapters = "lora";

    static readonly LoraConfig Lora = new();

    readonly Option<string> _train =
        ToolOptions.Defaulting("--train", "What is trained: text alone is LiT; lora trains adapters beside frozen weights.", Everything)
            .AcceptOnlyFromAmong(Everything, Heads, Text, Image, Adapters);
    readonly Option<int?> _lastLayers =
        ToolOptions.Of<int?>("--last-layers", "N", "Train only the last N blocks of each encoder, and the heads.");
    readonly Option<double> _layerDecay =
        ToolOptions.Defaulting("--layer-decay", "Factor of the learning rate from each block to the one before it.", 1.0);
    readonly Option<int> _rank = ToolOptions.Defaulting("--lora-rank", "Rank of the adapters.", Lora.Rank);
    readonly Option<double?> _alpha = ToolOptions.Of<double?>("--lora-alpha", "X", "Strength of the adapters; by default twice the rank.");
    readonly Option<double> _dropout = ToolOptions.Defaulting("--lora-dropout", "Share of the adapters' inputs that is dropped.", Lora.Dropout);
    readonly Option<bool> _mlp = ToolOptions.Flag("--lora-mlp", "Adapt the feed-forward layers too, not only attention.");

    public void AddTo(Command command)
    {
        Option[] options = [_train, _lastLayers, _layerDecay, _rank, _alpha, _dropout, _mlp];
        foreach (Option option in options) command.Add(option);
        command.Validators.Add(result =>
        {
            if (result.GetValue(_train) == Adapters) return;
            foreach (Option option in new Option[] { _rank, _alpha, _dropout, _mlp })
                if (result.GetResult(option) is { Implicit: false }) result.AddError($"{option.Name} needs --train {Adapters}.");
        });
    }

    public FineTuningOptions Read(ParseResult parsed) => new()
    {
        Frozen = parsed.GetValue(_train) switch
        {
            Heads => FrozenTowers.AllButHeads,
            Text => FrozenTowers.Image,
            Image => FrozenTowers.Text,
            _ => FrozenTowers.None,
        },
        LastLayers = parsed.GetValue(_lastLayers),
        LayerDecay = parsed.GetValue(_layerDecay),
        Lora = parsed.GetValue(_train) != Adapters ? null : new()
        {
            Rank = parsed.GetValue(_rank),
            Alpha = parsed.GetValue(_alpha) ?? 2 * parsed.GetValue(_rank),
            Dropout = parsed.GetValue(_dropout),
            Targets = [.. LoraConfig.AttentionTargets, .. parsed.GetValue(_mlp) ? LoraConfig.MlpTargets : []],
        },
    };
}
