using System.CommandLine;
using Microsoft.ML;
using MLNetMultimodal.Inference;

namespace MLNetMultimodal.ModelBuilder.Commands;

/// <summary>Options of <c>evaluate --probe</c>: a linear probe in place of words.</summary>
sealed class ProbeOptions
{
    readonly Option<bool> _probe = ToolOptions.Flag("--probe",
        "Learn a linear classifier on the embeddings of --train, and measure it on the data, instead of classifying by words.");
    readonly Option<string?> _train = ToolOptions.Of<string?>("--train", "PATH",
        "What a probe learns from: a folder, a manifest, or, with --train-labels, an IDX file.");
    readonly Option<string?> _trainLabels =
        ToolOptions.Of<string?>("--train-labels", "F", "The IDX file of the classes of --train.");
    readonly Option<int[]> _shots = ToolOptions.Several<int>("--shots", "K",
        "Labelled pictures of each class that a probe may use, one result for each number, such as 1 2 4 8 16; default all.");
    readonly Option<int[]> _seeds =
        ToolOptions.Several<int>("--seeds", "N", "Runs of each probe; default 1 2 3 with --shots, else 1.");

    public void AddTo(Command command, Option<bool> retrieval, DataOptions data)
    {
        foreach (Option option in (Option[])[_probe, _train, _trainLabels, _shots, _seeds]) command.Add(option);
        command.Validators.Add(result =>
        {
            bool Given(Option option) => result.GetResult(option) is not null;
            if (!result.GetValue(_probe))
            {
                if (Given(_train) || Given(_trainLabels) || Given(_shots) || Given(_seeds))
                    result.AddError("--train, --train-labels, --shots and --seeds go with --probe only.");
            }
            else if (result.GetValue(retrieval)) result.AddError("Give --probe or --retrieval, not both.");
            else if (!Given(_train)) result.AddError("Give --train with --probe: what the probe learns from.");
            else if (Given(_trainLabels) != data.IsIdxIn(result))
                result.AddError("Give --idx-labels and --train-labels together, for IDX files.");
        });
    }

    public bool IsGivenIn(ParseResult parsed) => parsed.GetValue(_probe);

    public PictureData LoadTrain(MLContext ml, ParseResult parsed, DataOptions data)
    {
        string path = parsed.GetRequiredValue(_train)!;
        return parsed.GetValue(_trainLabels) is { } labels
            ? data.LoadIdx(ml, parsed, path, labels, ZeroShotPrompts.DefaultTemplate)
            : data.Load(ml, parsed, path, ZeroShotPrompts.DefaultTemplate);
    }

    /// <summary>One probe for each number of shots.</summary>
    public IReadOnlyList<LinearProbeOptions> Read(ParseResult parsed) => WrongUsageException.Check(() =>
    {
        int[] shots = parsed.GetValue(_shots) ?? [];
        var options = new LinearProbeOptions { Seeds = parsed.GetValue(_seeds) ?? [] };
        return shots.Length == 0 ? [options] : shots.Select(k => options with { ShotsPerClass = k }).ToArray();
    });
}
